#include "tf_ops/wgrad/cpu/transpose.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

TransposeMatrix TransposeOf(const Isa& isa, int64_t element_size) {
  return element_size == 2 ? isa.transpose16 : element_size == 4 ? isa.transpose32 : isa.transpose64;
}

void TransposeToNHWC(const Isa& isa, int64_t element_size, int64_t batch, int64_t channels, int64_t pixels,
                     const void* from, void* to, Executor* executor) {
  const TransposeMatrix transpose = TransposeOf(isa, element_size);
  // Whole squares along the pixels, and long enough runs of them to be read a page at a time.
  constexpr int64_t kPixelsPerTask = 256;
  const int64_t tasks_per_image = CeilDiv(pixels, kPixelsPerTask);
  executor->Run(batch * tasks_per_image, [&](int64_t task, int) {
    const int64_t first = task % tasks_per_image * kPixelsPerTask;
    const int64_t image = task / tasks_per_image * channels * pixels;
    transpose(static_cast<const char*>(from) + (image + first) * element_size, pixels, channels,
              std::min(kPixelsPerTask, pixels - first),
              static_cast<char*>(to) + (image + first * channels) * element_size, channels);
  });
}

}  // namespace wgrad
