// The direct algorithm's kernels on pairs of bfloat16, for instruction sets that multiply and add such pairs at once.
// Whoever includes this has defined DotPairs before: Apply(sum, a, b) adds to each float32 lane of `sum` the dot
// product of the two bfloat16 in that lane of a and of b; ApplyBroadcast(sum, a, b) takes the same pair, *a, for all.
#ifndef TF_OPS_WGRAD_CPU_BF16_PAIRS_H_
#define TF_OPS_WGRAD_CPU_BF16_PAIRS_H_

#include "tf_ops/wgrad/cpu/grid_kernel.h"
#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/microkernel.h"
#include "tf_ops/wgrad/cpu/pack.h"
#include "tf_ops/wgrad/cpu/scalar.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

// The pixels that share a row of a panel, null for zeros.
struct PixelPair {
  const BFloat16* low;
  const BFloat16* high;

  bool whole() const { return low != nullptr && high != nullptr; }
};

inline Vector<uint32_t> WidenedBits(const BFloat16* from) {
  return LoadWidened(reinterpret_cast<const uint16_t*>(from));
}

inline void PackVectorOfPairs(const PixelPair& pair, int64_t column, uint32_t* to) {
  Store(WidenedBits(pair.low + column) | WidenedBits(pair.high + column) << 16, to);
}

// Two shuffles instead of four conversions.
inline void PackTwoVectorsOfPairs(const PixelPair& pair, int64_t column, uint32_t* to) {
  constexpr int kValues = 2 * kLanes<float>;
  using Values = Vector<uint16_t>;
  const Values low = Load(reinterpret_cast<const uint16_t*>(pair.low + column));
  const Values high = Load(reinterpret_cast<const uint16_t*>(pair.high + column));
  Values first, second;
#pragma GCC unroll 32
  for (int i = 0; i < kValues; ++i) {
    first[i] = static_cast<uint16_t>(i / 2 + i % 2 * kValues);
    second[i] = static_cast<uint16_t>(first[i] + kValues / 2);
  }
  Store(reinterpret_cast<Vector<uint32_t>>(__builtin_shuffle(low, high, first)), to);
  Store(reinterpret_cast<Vector<uint32_t>>(__builtin_shuffle(low, high, second)), to + kLanes<float>);
}

// Where a pixel is missing or columns do not fill a vector. Not inlined, because what GCC 12 makes of these loops took
// a sixth of the time of 2_1x1a, even where they had nothing to do.
[[gnu::noinline]] inline void PackPairsOneByOne(const PixelPair& pair, int64_t first, int64_t end, uint32_t* to) {
  for (int64_t column = first; column < end; ++column) {
    const uint32_t low = pair.low == nullptr ? 0 : pair.low[column].bits;
    const uint32_t high = pair.high == nullptr ? 0 : pair.high[column].bits;
    *to++ = low | high << 16;
  }
}

inline void PackColumnsOfPairs(const PixelPair& pair, int64_t first, int64_t columns, uint32_t* to) {
  if (!pair.whole() || columns < kLanes<float>) return PackPairsOneByOne(pair, first, first + columns, to);
  // The last vector overlaps the one before.
  const int64_t last = columns - kLanes<float>;
  int64_t i = 0;
  for (; i + 2 * kLanes<float> <= columns; i += 2 * kLanes<float>) PackTwoVectorsOfPairs(pair, first + i, to + i);
  for (; i < last; i += kLanes<float>) PackVectorOfPairs(pair, first + i, to + i);
  PackVectorOfPairs(pair, first + last, to + last);
}

// PackRows of two pixels to a row, the first one in the low half; pixels with a negative offset are zeros, and so is
// the partner of an odd last one. kVectors as for PackPanelsOf.
template <int kVectors>
void PackPairsOf(const BFloat16* base, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                 int64_t pitch, int64_t slot, uint32_t* to) {
  const int64_t last_width = width % panel_width;
  const int64_t last_stride = PanelStride(last_width, panel_width, kLanes<float>);
  const int64_t full_width = width - last_width;
  const auto pixel = [&](int64_t p) { return p == count || offsets[p] < 0 ? nullptr : base + offsets[p]; };
  for (int64_t p = 0; p < count; p += 2, ++slot) {
    const PixelPair pair = {pixel(p), pixel(p + 1)};
    uint32_t* row = to + slot * panel_width;
    for (int64_t column = 0; column < full_width; column += panel_width, row += pitch * panel_width) {
      if (kVectors > 0 && pair.whole()) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
          PackVectorOfPairs(pair, column + j * kLanes<float>, row + j * kLanes<float>);
        }
      } else {
        PackColumnsOfPairs(pair, column, panel_width, row);
      }
    }
    if (last_width > 0) {
      uint32_t* last = to + full_width * pitch + slot * last_stride;
      PackColumnsOfPairs(pair, full_width, last_width, last);
      for (int64_t i = last_width; i < last_stride; ++i) last[i] = 0;
    }
  }
}

inline void PackPairs(const void* source, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                      int64_t pitch, int64_t slot, float* to) {
  const auto pack = panel_width == kLanes<float>       ? PackPairsOf<1>
                    : panel_width == 2 * kLanes<float> ? PackPairsOf<2>
                    : panel_width == 3 * kLanes<float> ? PackPairsOf<3>
                                                       : PackPairsOf<0>;
  pack(static_cast<const BFloat16*>(source), offsets, count, width, panel_width, pitch, slot,
       reinterpret_cast<uint32_t*>(to));
}

inline Kernels<float> WithBf16Pairs(Kernels<float> kernels) {
  kernels.pack[static_cast<int>(DataType::kBFloat16)] = PackPairs;
  FillMicroKernels<float, DotPairs, 1>(&kernels);
  FillMicroKernels<float, DotPairs, 2>(&kernels);
  FillMicroKernels<float, DotPairs, 3>(&kernels);
  if constexpr (kVectorBytes >= kWideVectorBytes) {
    FillOneGroupKernels<float, DotPairs, 1>(&kernels);
    FillOneGroupKernels<float, DotPairs, 2>(&kernels);
  }
  return kernels;
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_BF16_PAIRS_H_
