// The micro-kernel's loop in the compiler's own vectors, for every instruction set and every Arithmetic.
#ifndef TF_OPS_WGRAD_CPU_PIXEL_LOOP_H_
#define TF_OPS_WGRAD_CPU_PIXEL_LOOP_H_

#include <cstdint>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

// With the vectors of AVX-512 the products of two pixels take as long as a line takes to come: three channels of 224 x
// 224 pixels gain 22 % over four. Shorter vectors have no time for so many requests.
inline constexpr int kLookaheadPixels = kVectorBytes >= kWideVectorBytes ? 2 : 4;

template <typename Arithmetic, Indexed kIndexed, typename T, typename V, int kRows, int kVectors>
inline void SumPixels(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, const int32_t* index,
                      Lookahead* lookahead, const Sums<T>& tile, V (&sum)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) sum[i][j] = V{};
  }
  const auto multiply = [&](int64_t p) __attribute__((always_inline)) {
    const T* a_row = a + (kIndexed == kIndexedA ? index[p] : p * a_stride);
    const T* b_row = b + (kIndexed == kIndexedB ? index[p] : p) * b_stride;
    V b_vector[kVectors];
#pragma GCC unroll 3
    for (int j = 0; j < kVectors; ++j) b_vector[j] = Load(b_row + j * kLanes<T>);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      if constexpr (kVectors == 1) {
        sum[i][0] = Arithmetic::ApplyBroadcast(sum[i][0], a_row + i, b_vector[0]);
      } else {
        const V a_vector = Broadcast(a_row[i]);
#pragma GCC unroll 3
        for (int j = 0; j < kVectors; ++j) sum[i][j] = Arithmetic::Apply(sum[i][j], a_vector, b_vector[j]);
      }
    }
  };
  // A row of the tile is asked for at a time: all of them at once would keep the operands waiting, which come from the
  // second-level cache.
  const int64_t row_pixels = tile.in_cache ? depth : depth / kRows / kLookaheadPixels * kLookaheadPixels;
  int64_t p = 0;
  for (int row = 0; row < kRows && p < depth; ++row) {
    if (!tile.in_cache) PrefetchToWrite<kVectors>(tile.first + row * tile.stride);
    const int64_t end = row + 1 < kRows ? p + row_pixels : depth;
    if (lookahead == nullptr) {
      for (; p < end; ++p) multiply(p);
      continue;
    }
    for (; p < end; ++p) {
      if (p % kLookaheadPixels == 0) {
        for (Lookahead::Stream& stream : lookahead->streams) {
          __builtin_prefetch(stream.next);
          stream.next += stream.step;
        }
      }
      multiply(p);
    }
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_PIXEL_LOOP_H_
