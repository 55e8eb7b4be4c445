// From split-K slices to the filter gradient: sums in a fixed order, goes from KRSC to HWIO where the slices are KRSC,
// and rounds once.
//
// Slices of CUTLASS's implicit GEMM are [group][slice][out channels of the group][filter rows], and go through a tile
// that exchanges the two dimensions. Those of the other kernels are [slice][filter rows][out channels] already.
#ifndef TF_OPS_WGRAD_CUDA_REDUCE_H_
#define TF_OPS_WGRAD_CUDA_REDUCE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"
#include "tf_ops/wgrad/cuda/pack.h"
#include "tf_ops/wgrad/cuda/repair.h"

namespace wgrad::cuda::reduce {

// Slices added in one chain; chains are then added up, which keeps the error at the root of 32 rather than of the
// count.
inline constexpr int kChain = 32;

// Of a thread at once: packs are wide where there are threads enough.
template <typename V>
constexpr int kLoads = sizeof(V) == 16 ? 4 : 16;

// Adds to each of `n` totals, whose elements are `step` apart, the chain that begins with slice `begin` of `count`. V
// is a Pack.
template <int unroll, int n, typename V>
WGRAD_DEVICE void AddChain(const V* slices, int64_t step, int64_t stride, int64_t begin, int64_t count,
                           V (&totals)[n]) {
  const int64_t end = begin + kChain < count ? begin + kChain : count;
  V chains[n] = {};
  WGRAD_UNROLL(unroll)  // as many loads are on their way at once, of each of the n
  for (int64_t slice = begin; slice < end; ++slice) {
    WGRAD_UNROLL(n)
    for (int i = 0; i < n; ++i) chains[i] += slices[slice * stride + i * step];
  }
  WGRAD_UNROLL(n)
  for (int i = 0; i < n; ++i) totals[i] += chains[i];
}

// `groups` matrices [rows, columns], each of `count` slices that lie `stride` elements apart, its group's
// `group_stride` apart; and their sums over earlier rounds. All in elements of V.
template <typename V>
struct Slices {
  const V* data;
  const V* carry;  // [group][row][column], or nullptr
  int64_t count, stride, group_stride;
  int64_t groups, rows, columns;
  int64_t tap_columns, tap_channels;  // as in SliceView, in elements
};

template <typename V>
WGRAD_DEVICE V SumAt(const Slices<V>& s, int64_t group, int64_t index) {
  const V* first = s.data + group * s.group_stride + index;
  V total[1] = {};
  if (s.carry != nullptr) total[0] = s.carry[group * s.rows * s.columns + index];
  for (int64_t begin = 0; begin < s.count; begin += kChain) {
    AddChain<kLoads<V>>(first, 0, s.stride, begin, s.count, total);
  }
  return total[0];
}

// Sums each chain of slices into its first slice. 108 slices of 64 x 64 would otherwise be 16 blocks, each thread of
// which waits for 108 loads.
template <typename V>
struct ChainsKernel {
  struct Shared {};

  V* slices;
  int64_t count, groups, size;  // `size` elements in a slice

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(groups * Chains() * size, kThreads); }

  WGRAD_HOST_DEVICE int64_t Chains() const { return CeilDiv(count, kChain); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t index = block * kThreads + thread;
      const int64_t group = index / size / Chains();
      if (group >= groups) return;
      const int64_t begin = index / size % Chains() * kChain;
      V* element = slices + group * count * size + index % size;
      V chain[1] = {};
      AddChain<kLoads<V>>(element, 0, size, begin, count, chain);
      element[begin * size] = chain[0];
    });
  }
};

// The sum of the slices, in their own order: [group][row][column].
template <typename T, int width>
struct SumKernel {
  struct Shared {};

  Slices<Pack<Accumulator<T>, width>> slices;
  Pack<T, width>* target;
  Repair<T> repair;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(Elements(), kThreads); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t index = block * kThreads + thread;
      if (index >= Elements()) return;
      const int64_t size = slices.rows * slices.columns;
      const Pack<T, width> sums = Round<T>(SumAt(slices, index / size, index % size));
      target[index] = sums;
      if (!IsSound(sums)) repair(index * width, width);
    });
  }

 private:
  WGRAD_HOST_DEVICE int64_t Elements() const { return slices.groups * slices.rows * slices.columns; }
};

// The sum of the slices, as [column][group][row]: a tile is loaded along the columns, a pack by each thread, and stored
// along the rows. Narrow packs make more blocks of few elements, each thread of which waits for the memory but once;
// wide ones make rows long enough to store whole sectors.
template <typename T, int width>
struct TransposedSumKernel {
  static constexpr int kColumns = 32;
  static constexpr int kRows = kThreads * width / kColumns;

  struct Shared {
    Accumulator<T> tile[kRows][kColumns + 1];
  };

  Slices<Pack<Accumulator<T>, width>> slices;  // `columns` are packs
  T* target;
  Repair<T> repair;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return slices.groups * RowTiles() * ColumnTiles(); }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const int64_t first_pack = block % ColumnTiles() * (kColumns / width);
    const int64_t first_row = block / ColumnTiles() % RowTiles() * kRows;
    const int64_t group = block / ColumnTiles() / RowTiles();
    ForEachThread([&](int thread) {
      const int row = thread / (kColumns / width);
      const int pack = thread % (kColumns / width);
      if (first_row + row >= slices.rows || first_pack + pack >= slices.columns) return;
      const auto sums = SumAt(slices, group, (first_row + row) * slices.columns + first_pack + pack);
      WGRAD_UNROLL(width)
      for (int i = 0; i < width; ++i) shared->tile[row][pack * width + i] = sums.values[i];
    });
    const auto visit = [&](int thread, auto visitor) {
      const int64_t row = first_row + thread % kRows;
      for (int i = 0; i < width; ++i) {
        const int column = thread / kRows + i * (kThreads / kRows);
        int64_t filter_row = first_pack * width + column;
        if (row >= slices.rows || filter_row >= slices.columns * width) continue;
        if (slices.tap_columns != slices.tap_channels) {
          const int64_t tap = filter_row / slices.tap_columns;
          if (filter_row - tap * slices.tap_columns >= slices.tap_channels) continue;
          filter_row -= tap * (slices.tap_columns - slices.tap_channels);
        }
        visitor(column, (filter_row * slices.groups + group) * slices.rows + row);
      }
    };
    ForEachThread([&](int thread) {
      bool sound = true;
      visit(thread, [&](int column, int64_t index) {
        const T value = cuda::Round<T>(shared->tile[thread % kRows][column]);
        target[index] = value;
        sound &= !IsSuspect(value);
      });
      if (!sound) visit(thread, [&](int, int64_t index) { repair(index, 1); });
    });
  }

 private:
  WGRAD_HOST_DEVICE int64_t RowTiles() const { return CeilDiv(slices.rows, kRows); }
  WGRAD_HOST_DEVICE int64_t ColumnTiles() const { return CeilDiv(slices.columns, kColumns / width); }
};

}  // namespace wgrad::cuda::reduce

#endif  // TF_OPS_WGRAD_CUDA_REDUCE_H_
