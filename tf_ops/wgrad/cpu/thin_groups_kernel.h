// Kernels for groups too thin to fill a micro-kernel's tile: vectors run along the output channels, across groups.
#ifndef TF_OPS_WGRAD_CPU_THIN_GROUPS_KERNEL_H_
#define TF_OPS_WGRAD_CPU_THIN_GROUPS_KERNEL_H_

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/pack.h"

namespace wgrad::WGRAD_ISA {
namespace {

template <typename T, int kTaps>
void MultiplyTaps(const TapRegion& region, const T* x, int64_t x_step, const int64_t* taps, const T* dy,
                  int64_t sum_stride, T* sums) {
  Vector<T> sum[kTaps] = {};
  const T* tap_x[kTaps];
#pragma GCC unroll 10
  for (int t = 0; t < kTaps; ++t) tap_x[t] = x + taps[t];
  for (int64_t row = 0; row < region.rows; ++row) {
    int64_t offset = row * region.x_row_step;
    for (int64_t i = 0; i < region.columns; ++i, dy += kLanes<T>, offset += x_step) {
      const Vector<T> dy_vector = Load(dy);
#pragma GCC unroll 10
      for (int t = 0; t < kTaps; ++t) sum[t] += Load(tap_x[t] + offset) * dy_vector;
    }
  }
#pragma GCC unroll 10
  for (int t = 0; t < kTaps; ++t) Store(Load(sums + t * sum_stride) + sum[t], sums + t * sum_stride);
}

template <typename T, int kTaps = 1>
void FillTapKernels(Kernels<T>* kernels) {
  if constexpr (kTaps <= kMaxTaps) {
    kernels->multiply_taps[kTaps] = MultiplyTaps<T, kTaps>;
    FillTapKernels<T, kTaps + 1>(kernels);
  }
}

// Pixels that are many channels apart defeat the hardware prefetchers. Asking this many ahead: 1.4 times as fast on
// ResNeXt's first stage.
inline constexpr int64_t kPixelsAhead = 16;

template <typename Source, typename T>
void SpreadChannels(const void* source, int64_t readable, int64_t pixels, int64_t pixel_step, int64_t filter_channels,
                    const LaneIndex<T>* lanes, T* to) {
  const Source* base = static_cast<const Source*>(source);
  const bool within_vector = lanes[kLanes<T> - 1] < kLanes<T>;
  for (int64_t p = 0; p < pixels; ++p, base += pixel_step, readable -= pixel_step) {
    AskSecondLevelFor(base + kPixelsAhead * pixel_step);
    for (int64_t c = 0; c < filter_channels; ++c, to += kLanes<T>) {
      if (within_vector && c + kLanes<T> <= readable) {
        Store(__builtin_shuffle(LoadWidened(base + c), Load(lanes)), to);
      } else {
        for (int i = 0; i < kLanes<T>; ++i) to[i] = ToAccumulator<T>(base[c + lanes[i]]);
      }
    }
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_THIN_GROUPS_KERNEL_H_
