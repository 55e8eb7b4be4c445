// The direct algorithm's kernels on pairs of bfloat16, for instruction sets that multiply and add such pairs at once.
// Whoever includes this has defined DotPairs before: Apply(sum, a, b) adds to each float32 lane of `sum` the dot
// product of the two bfloat16 in that lane of a and of b.
#ifndef TF_OPS_WGRAD_CPU_BF16_PAIRS_H_
#define TF_OPS_WGRAD_CPU_BF16_PAIRS_H_

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/microkernel.h"
#include "tf_ops/wgrad/cpu/scalar.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

// PackRows of two pixels to a row, the first one in the low half; pixels with a negative offset are zeros, and so is
// the partner of an odd last one.
inline void PackPairs(const void* source, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                      int64_t pitch, int64_t slot, float* to) {
  const BFloat16* base = static_cast<const BFloat16*>(source);
  uint32_t* panels = reinterpret_cast<uint32_t*>(to);
  for (int64_t p = 0; p < count; p += 2) {
    const BFloat16* low = offsets[p] < 0 ? nullptr : base + offsets[p];
    const BFloat16* high = p + 1 == count || offsets[p + 1] < 0 ? nullptr : base + offsets[p + 1];
    for (int64_t column = 0; column < width; column += panel_width) {
      const int64_t columns = width - column < panel_width ? width - column : panel_width;
      const int64_t stride = PanelStride(width - column, panel_width, kLanes<float>);
      uint32_t* row = panels + column * pitch + (slot + p / 2) * stride;
      for (int64_t i = 0; i < columns; ++i) {
        const uint32_t low_bits = low == nullptr ? 0 : low[column + i].bits;
        const uint32_t high_bits = high == nullptr ? 0 : high[column + i].bits;
        row[i] = low_bits | high_bits << 16;
      }
      for (int64_t i = columns; i < stride; ++i) row[i] = 0;
    }
  }
}

inline Kernels<float> WithBf16Pairs(Kernels<float> kernels) {
  kernels.pack[static_cast<int>(DataType::kBFloat16)] = PackPairs;
  FillMicroKernels<float, DotPairs, 1>(&kernels);
  FillMicroKernels<float, DotPairs, 2>(&kernels);
  FillMicroKernels<float, DotPairs, 3>(&kernels);
  return kernels;
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_BF16_PAIRS_H_
