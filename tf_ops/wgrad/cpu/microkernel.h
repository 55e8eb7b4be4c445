// The one micro-kernel: a tile of kRows x kVectors vectors of dW held in registers while it runs along the pixels.
#ifndef TF_OPS_WGRAD_CPU_MICROKERNEL_H_
#define TF_OPS_WGRAD_CPU_MICROKERNEL_H_

#include <algorithm>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/simd.h"
#if defined(__AVX2__) && WGRAD_VECTOR_BYTES == 32
#include "tf_ops/wgrad/cpu/pixel_loop_avx2.h"
#else
#include "tf_ops/wgrad/cpu/pixel_loop.h"
#endif

namespace wgrad::WGRAD_ISA {
namespace {

struct MultiplyAdd {
  template <typename V>
  static V Apply(V sum, V a, V b) {
    return sum + a * b;
  }
  template <typename V, typename T>
  static V ApplyBroadcast(V sum, const T* a, V b) {
    return sum + Broadcast(*a) * b;
  }
};

template <typename T, typename Arithmetic, Indexed kIndexed, int kRows, int kVectors>
void Micro(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, const int32_t* index,
           const Sums<T>& tile, Lookahead* lookahead) {
  Vector<T> sum[kRows][kVectors];
  SumPixels<Arithmetic, kIndexed>(depth, a, a_stride, b, b_stride, index, lookahead, tile, sum);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) {
      T* to = tile.first + i * tile.stride + j * kLanes<T>;
      Store(tile.accumulate ? Load(to) + sum[i][j] : sum[i][j], to);
    }
  }
}

// Tallest tile that still leaves registers for the vectors of b and one broadcast. Measured on Zen 3 with 16 registers:
// 4 x 3 reaches 100 % of the FMA peak, 6 x 2 95 % (8 loads for 12 FMAs instead of 7). Tiles of one vector gain nothing
// from more than 12 rows.
constexpr int MaxRows(int vectors) {
  constexpr int kRegisters = WGRAD_VECTOR_REGISTERS;
  if (vectors == 1) return std::min(kMaxRows, kRegisters - 4);
  return (kRegisters - 1) / vectors - 1;
}

template <typename T, typename Arithmetic, int kVectors, int kRows = 1>
void FillMicroKernels(Kernels<T>* kernels) {
  if constexpr (kRows <= MaxRows(kVectors)) {
    kernels->micro[kNotIndexed][kVectors][kRows] = Micro<T, Arithmetic, kNotIndexed, kRows, kVectors>;
    kernels->micro[kIndexedA][kVectors][kRows] = Micro<T, Arithmetic, kIndexedA, kRows, kVectors>;
    kernels->micro[kIndexedB][kVectors][kRows] = Micro<T, Arithmetic, kIndexedB, kRows, kVectors>;
    kernels->max_rows[kVectors] = kRows;
    FillMicroKernels<T, Arithmetic, kVectors, kRows + 1>(kernels);
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_MICROKERNEL_H_
