#ifndef TF_OPS_WGRAD_CPU_PREFETCH_H_
#define TF_OPS_WGRAD_CPU_PREFETCH_H_

#include <cstdint>

namespace wgrad {

// Asks for the cache lines of a strided block of rows a few at a time, so that they arrive while something else
// computes.
class Prefetcher {
 public:
  Prefetcher() = default;
  Prefetcher(const char* base, int64_t row_bytes, int64_t row_stride, int64_t rows)
      : row_(base), end_(base + rows * row_stride), row_bytes_(row_bytes), row_stride_(row_stride) {}

  int64_t lines() const {
    return row_stride_ == 0 ? 0 : (end_ - row_) / row_stride_ * ((row_bytes_ + kLine - 1) / kLine);
  }

  void Next(int64_t lines) {
    for (; lines > 0 && row_ < end_; --lines) {
      __builtin_prefetch(row_ + column_, 0, 2);
      column_ += kLine;
      if (column_ >= row_bytes_) {
        column_ = 0;
        row_ += row_stride_;
      }
    }
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* row_ = nullptr;
  const char* end_ = nullptr;
  int64_t row_bytes_ = 0, row_stride_ = 0, column_ = 0;
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PREFETCH_H_
