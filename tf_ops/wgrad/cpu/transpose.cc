#include "tf_ops/wgrad/cpu/transpose.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/ranges.h"
#include "tf_ops/wgrad/cpu/streaming.h"

namespace wgrad {

TransposeMatrix TransposeOf(const Isa& isa, int64_t element_size) {
  return element_size == 2 ? isa.transpose16 : element_size == 4 ? isa.transpose32 : isa.transpose64;
}

void TransposeToNHWC(const Isa& isa, int64_t element_size, int64_t batch, int64_t channels, int64_t pixels,
                     const void* from, void* to, Executor* executor) {
  const TransposeMatrix transpose = TransposeOf(isa, element_size);
  // Whole squares along the pixels, and long enough runs of them to be read a page at a time.
  constexpr int64_t kPixelsPerTask = 256;
  // What no cache holds until it is read. 56 x 56 pixels of 64 channels take a third of the time, and 3 x 3 taps with
  // 64 filters 0.85 in all; one image of them, 0.8 MB, would take 1.08 times as long.
  constexpr int64_t kStreamedBytes = 2 << 20;
  const bool streaming = batch * channels * pixels * element_size > kStreamedBytes;
  const int64_t tasks_per_image = CeilDiv(pixels, kPixelsPerTask);
  executor->Run(batch * tasks_per_image, [&](int64_t task, int) {
    const int64_t first = task % tasks_per_image * kPixelsPerTask;
    const int64_t image = task / tasks_per_image * channels * pixels;
    transpose(static_cast<const char*>(from) + (image + first) * element_size, pixels, channels,
              std::min(kPixelsPerTask, pixels - first), streaming,
              static_cast<char*>(to) + (image + first * channels) * element_size, channels);
    FenceStreams();
  });
}

}  // namespace wgrad
