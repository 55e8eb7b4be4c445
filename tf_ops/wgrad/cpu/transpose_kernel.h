#ifndef TF_OPS_WGRAD_CPU_TRANSPOSE_KERNEL_H_
#define TF_OPS_WGRAD_CPU_TRANSPOSE_KERNEL_H_

#include <cstdint>
#include <type_traits>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

// Lanes of the vectors that exchange runs of kRun elements between two rows of a square: lane i of the first comes from
// the first row where i lies in an even run, otherwise from the even run before it in the second row.
template <typename Bits, int kRun>
struct ExchangeLanes {
  Vector<Bits> first, second;
  constexpr ExchangeLanes() : first(), second() {
    constexpr int kCount = kLanes<Bits>;
    for (int i = 0; i < kCount; ++i) {
      const bool even = (i & kRun) == 0;
      first[i] = static_cast<Bits>(even ? i : kCount + i - kRun);
      second[i] = static_cast<Bits>(even ? i + kRun : kCount + i);
    }
  }
};

// Transposes a square of vectors in place by exchanging ever shorter runs.
template <typename Bits, int kRun = kLanes<Bits> / 2>
inline void TransposeSquare(Vector<Bits>* rows) {
  if constexpr (kRun > 0) {
    const ExchangeLanes<Bits, kRun> lanes;
#pragma GCC unroll 32
    for (int i = 0; i < kLanes<Bits>; ++i) {
      if ((i & kRun) != 0) continue;
      const Vector<Bits> first = rows[i], second = rows[i + kRun];
      rows[i] = __builtin_shuffle(first, second, lanes.first);
      rows[i + kRun] = __builtin_shuffle(first, second, lanes.second);
    }
    TransposeSquare<Bits, kRun / 2>(rows);
  }
}

// kSquares squares below each other, whose transposes are written side by side: the whole lines of streaming stores.
template <typename Bits, int kSquares>
inline void TransposeSquares(const Bits* from, int64_t from_stride, bool streaming, Bits* to, int64_t to_stride) {
  constexpr int kSide = kLanes<Bits>, kLine = kCacheLine / sizeof(Bits);
  Vector<Bits> squares[kSquares][kSide];
  for (int s = 0; s < kSquares; ++s) {
    for (int i = 0; i < kSide; ++i) {
      const Bits* run = from + (s * kSide + i) * from_stride;
      // Two lines ahead in every row: too many streams for the hardware's prefetchers. The first-level cache, whose
      // sets the rows share, would cost 2_1x1b 8 %.
      AskSecondLevelFor(run + 2 * kLine);
      squares[s][i] = Load(run);
    }
    TransposeSquare<Bits>(squares[s]);
  }
  for (int i = 0; i < kSide; ++i) {
    for (int s = 0; s < kSquares; ++s) {
      Bits* run = to + i * to_stride + s * kSide;
      streaming ? StoreStreaming(squares[s][i], run) : Store(squares[s][i], run);
    }
  }
}

template <typename Bits>
void Transpose(const void* from_elements, int64_t from_stride, int64_t rows, int64_t columns, bool streaming,
               void* to_elements, int64_t to_stride) {
  constexpr int kSide = kLanes<Bits>, kSquaresPerLine = kCacheLine / kVectorBytes;
  const Bits* from = static_cast<const Bits*>(from_elements);
  Bits* to = static_cast<Bits*>(to_elements);
  streaming = streaming && AreLines(to, to_stride);
  const int64_t square_rows = rows - rows % kSide, square_columns = columns - columns % kSide;
  for (int64_t column = 0; column < square_columns; column += kSide) {
    int64_t row = 0;
    const auto transpose = [&](auto squares) {
      TransposeSquares<Bits, squares>(from + row * from_stride + column, from_stride, streaming,
                                      to + column * to_stride + row, to_stride);
      row += squares * kSide;
    };
    while (row + kSquaresPerLine * kSide <= rows) transpose(std::integral_constant<int, kSquaresPerLine>());
    while (row < square_rows) transpose(std::integral_constant<int, 1>());
  }
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = column < square_columns ? square_rows : 0; row < rows; ++row) {
      to[column * to_stride + row] = from[row * from_stride + column];
    }
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_TRANSPOSE_KERNEL_H_
