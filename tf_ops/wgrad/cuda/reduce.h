// From split-K slices to the filter gradient: sums in a fixed order, goes from KRSC to HWIO where the slices are KRSC,
// and rounds once.
//
// Slices of the implicit GEMM are [group][slice][out channels of the group][filter rows], and go through a tile that
// exchanges the two dimensions. Those of the other kernels are [slice][filter rows][out channels] already.
#ifndef TF_OPS_WGRAD_CUDA_REDUCE_H_
#define TF_OPS_WGRAD_CUDA_REDUCE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"

namespace wgrad::cuda::reduce {

// Slices added in one chain; chains are then added up, which keeps the error at the root of 32 rather than of the
// count.
inline constexpr int kChain = 32;

// The chain that begins with slice `begin` of `count`.
template <typename A>
WGRAD_DEVICE A SumChain(const A* slices, int64_t stride, int64_t begin, int64_t count) {
  const int64_t end = begin + kChain < count ? begin + kChain : count;
  A chain = 0;
  WGRAD_UNROLL(8)  // as many loads are on their way at once
  for (int64_t slice = begin; slice < end; ++slice) chain += slices[slice * stride];
  return chain;
}

// `groups` matrices [rows, columns], each of `count` slices that lie `stride` elements apart, its group's
// `group_stride` apart; and their sums over earlier rounds.
template <typename A>
struct Slices {
  const A* data;
  const A* carry;  // [group][row][column], or nullptr
  int64_t count, stride, group_stride;
  int64_t groups, rows, columns;
};

template <typename A>
WGRAD_DEVICE A SumAt(const Slices<A>& s, int64_t group, int64_t index) {
  const A* first = s.data + group * s.group_stride + index;
  A total = s.carry != nullptr ? s.carry[group * s.rows * s.columns + index] : A(0);
  for (int64_t begin = 0; begin < s.count; begin += kChain) total += SumChain(first, s.stride, begin, s.count);
  return total;
}

// Sums each chain of slices into its first slice. 108 slices of 64 x 64 would otherwise be 16 blocks, each thread of
// which waits for 108 loads.
template <typename A>
struct ChainsKernel {
  struct Shared {};

  A* slices;
  int64_t count, groups, size;  // `size` elements in a slice

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(groups * Chains() * size, kThreads); }

  WGRAD_HOST_DEVICE int64_t Chains() const { return CeilDiv(count, kChain); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t index = block * kThreads + thread;
      const int64_t group = index / size / Chains();
      if (group >= groups) return;
      const int64_t begin = index / size % Chains() * kChain;
      A* element = slices + group * count * size + index % size;
      element[begin * size] = SumChain(element, size, begin, count);
    });
  }
};

// The sum of the slices, in their own order: [group][row][column].
template <typename T>
struct SumKernel {
  struct Shared {};

  Slices<Accumulator<T>> slices;
  T* target;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(Elements(), kThreads); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t index = block * kThreads + thread;
      const int64_t size = slices.rows * slices.columns;
      if (index < Elements()) target[index] = Round<T>(SumAt(slices, index / size, index % size));
    });
  }

 private:
  WGRAD_HOST_DEVICE int64_t Elements() const { return slices.groups * slices.rows * slices.columns; }
};

// The sum of the slices, as [column][group][row]. A tile has one element for each thread, because the sum is a wait for
// memory: it is loaded along the columns and stored along the rows.
template <typename T>
struct TransposedSumKernel {
  static constexpr int kColumns = 32;
  static constexpr int kRows = kThreads / kColumns;

  struct Shared {
    Accumulator<T> tile[kRows][kColumns + 1];
  };

  Slices<Accumulator<T>> slices;
  T* target;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return slices.groups * RowTiles() * ColumnTiles(); }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const int64_t first_column = block % ColumnTiles() * kColumns;
    const int64_t first_row = block / ColumnTiles() % RowTiles() * kRows;
    const int64_t group = block / ColumnTiles() / RowTiles();
    ForEachThread([&](int thread) {
      const int64_t row = first_row + thread / kColumns;
      const int64_t column = first_column + thread % kColumns;
      if (row >= slices.rows || column >= slices.columns) return;
      shared->tile[thread / kColumns][thread % kColumns] = SumAt(slices, group, row * slices.columns + column);
    });
    ForEachThread([&](int thread) {
      const int64_t row = first_row + thread % kRows;
      const int64_t column = first_column + thread / kRows;
      if (row >= slices.rows || column >= slices.columns) return;
      target[(column * slices.groups + group) * slices.rows + row] =
          Round<T>(shared->tile[thread % kRows][thread / kRows]);
    });
  }

 private:
  WGRAD_HOST_DEVICE int64_t RowTiles() const { return CeilDiv(slices.rows, kRows); }
  WGRAD_HOST_DEVICE int64_t ColumnTiles() const { return CeilDiv(slices.columns, kColumns); }
};

}  // namespace wgrad::cuda::reduce

#endif  // TF_OPS_WGRAD_CUDA_REDUCE_H_
