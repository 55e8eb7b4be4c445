// From split-K slices to the filter gradient: sums in a fixed order, goes from KRSC to HWIO where the slices are KRSC,
// and rounds once.
//
// Slices of the implicit GEMM are [group][slice][out channels of the group][filter rows], and go through a tile that
// exchanges the two dimensions. Those of the other kernels are [slice][filter rows][out channels] already.
#ifndef TF_OPS_WGRAD_CUDA_REDUCE_H_
#define TF_OPS_WGRAD_CUDA_REDUCE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda::reduce {

inline constexpr int kTile = transpose::kTile;
inline constexpr int kThreads = transpose::kThreads;
// Slices added in one chain; chains are then added up, which keeps the error at the root of 32 rather than of the
// count.
inline constexpr int kChain = 32;

// sum over slices of slices[index + slice * stride], plus what earlier rounds left in `carry`, if given.
template <typename A>
WGRAD_HOST_DEVICE A SumSlices(const A* slices, int64_t stride, int64_t count, const A* carry) {
  A total = carry != nullptr ? *carry : A(0);
  for (int64_t begin = 0; begin < count; begin += kChain) {
    const int64_t end = begin + kChain < count ? begin + kChain : count;
    A chain = 0;
    for (int64_t slice = begin; slice < end; ++slice) chain += slices[slice * stride];
    total += chain;
  }
  return total;
}

// Slices of `groups` matrices [rows, columns], and their sums over earlier rounds.
template <typename A>
struct Slices {
  const A* data;
  const A* carry;  // [group][row][column], or nullptr
  int64_t count, groups, rows, columns;
};

template <typename A>
WGRAD_HOST_DEVICE A SumAt(const Slices<A>& s, int64_t group, int64_t index) {
  const int64_t size = s.rows * s.columns;
  return SumSlices(s.data + group * s.count * size + index, size, s.count,
                   s.carry != nullptr ? s.carry + group * size + index : nullptr);
}

// The sum of every slice, in the order of the slices: element `index` of [group][row][column].
template <typename T>
WGRAD_HOST_DEVICE void Sum(const Slices<Accumulator<T>>& s, int64_t index, T* target) {
  const int64_t size = s.rows * s.columns;
  target[index] = Round<T>(SumAt(s, index / size, index % size));
}

// Load and Store, with a barrier between: a tile of sums, written as [column][group][row].
template <typename A>
WGRAD_HOST_DEVICE void Load(const Slices<A>& s, const transpose::Tile& tile, int thread, transpose::Shared<A>* shared) {
  const int64_t column = tile.column + thread % kTile;
  for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
    const int64_t row = tile.row + i;
    if (row < s.rows && column < s.columns) {
      shared->tile[i][thread % kTile] = SumAt(s, tile.image, row * s.columns + column);
    }
  }
}

template <typename T>
WGRAD_HOST_DEVICE void Store(const Slices<Accumulator<T>>& s, const transpose::Tile& tile,
                             const transpose::Shared<Accumulator<T>>& shared, int thread, T* target) {
  const int64_t row = tile.row + thread % kTile;
  for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
    const int64_t column = tile.column + i;
    if (row < s.rows && column < s.columns) {
      target[(column * s.groups + tile.image) * s.rows + row] = Round<T>(shared.tile[thread % kTile][i]);
    }
  }
}

}  // namespace wgrad::cuda::reduce

#endif  // TF_OPS_WGRAD_CUDA_REDUCE_H_
