// Asks for memory while something else is computed.
#ifndef TF_OPS_WGRAD_CPU_PREFETCH_H_
#define TF_OPS_WGRAD_CPU_PREFETCH_H_

#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

// Runs of `bytes` bytes, each at first + offsets[i] * offset_bytes, to be asked for in about equal parts by `calls`
// calls of Some: all at once would wait for a free line buffer.
class Prefetch {
 public:
  Prefetch() = default;
  Prefetch(const char* first, const int64_t* offsets, int64_t offset_bytes, int64_t count, int64_t bytes, int64_t calls)
      : first_(first),
        offsets_(offsets),
        offset_bytes_(offset_bytes),
        count_(count),
        bytes_(bytes),
        step_(CeilDiv(count, calls)) {}

  void Some() {
    constexpr int64_t kLine = 64;
    for (const int64_t end = std::min(count_, done_ + step_); done_ < end; ++done_) {
      const char* run = first_ + offsets_[done_] * offset_bytes_;
      for (int64_t byte = 0; byte < bytes_; byte += kLine) __builtin_prefetch(run + byte);
    }
  }

 private:
  const char* first_ = nullptr;
  const int64_t* offsets_ = nullptr;
  int64_t offset_bytes_ = 0, count_ = 0, bytes_ = 0, step_ = 0, done_ = 0;
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PREFETCH_H_
