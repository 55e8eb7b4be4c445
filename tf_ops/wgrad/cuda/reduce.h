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
// Slices added in one chain; chains are then added up, which keeps the error at the root of 32 rather than of the
// count.
inline constexpr int kChain = 32;

// sum over slices of slices[index + slice * stride], plus what earlier rounds left in `carry`, if given.
template <typename A>
WGRAD_DEVICE A SumSlices(const A* slices, int64_t stride, int64_t count, const A* carry) {
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
WGRAD_DEVICE A SumAt(const Slices<A>& s, int64_t group, int64_t index) {
  const int64_t size = s.rows * s.columns;
  return SumSlices(s.data + group * s.count * size + index, size, s.count,
                   s.carry != nullptr ? s.carry + group * size + index : nullptr);
}

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

// The sum of the slices, as [column][group][row].
template <typename T>
struct TransposedSumKernel {
  using Shared = transpose::Shared<Accumulator<T>>;

  Slices<Accumulator<T>> slices;
  T* target;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return transpose::Tiles(slices.groups, slices.rows, slices.columns); }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const transpose::Tile tile = transpose::TileAt(slices.rows, slices.columns, block);
    ForEachThread([&](int thread) { Load(tile, thread, shared); });
    ForEachThread([&](int thread) { Store(tile, *shared, thread); });
  }

 private:
  WGRAD_DEVICE void Load(const transpose::Tile& tile, int thread, Shared* shared) const {
    const int64_t column = tile.column + thread % kTile;
    for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
      const int64_t row = tile.row + i;
      if (row < slices.rows && column < slices.columns) {
        shared->tile[i][thread % kTile] = SumAt(slices, tile.image, row * slices.columns + column);
      }
    }
  }

  WGRAD_DEVICE void Store(const transpose::Tile& tile, const Shared& shared, int thread) const {
    const int64_t row = tile.row + thread % kTile;
    for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
      const int64_t column = tile.column + i;
      if (row < slices.rows && column < slices.columns) {
        target[(column * slices.groups + tile.image) * slices.rows + row] = Round<T>(shared.tile[thread % kTile][i]);
      }
    }
  }
};

}  // namespace wgrad::cuda::reduce

#endif  // TF_OPS_WGRAD_CUDA_REDUCE_H_
