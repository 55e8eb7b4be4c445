// Kernels for groups whose X and dY are multiplied where they lie.
#ifndef TF_OPS_WGRAD_CPU_GROUPS_IN_PLACE_KERNEL_H_
#define TF_OPS_WGRAD_CPU_GROUPS_IN_PLACE_KERNEL_H_

#include <algorithm>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/microkernel.h"
#include "tf_ops/wgrad/cpu/pack.h"

namespace wgrad::WGRAD_ISA {
namespace {

// Each row of a tile has one channel of X, for all lanes.
template <typename T, int kRows>
struct OneGroup {
  explicit OneGroup(const LaneIndex<T>*) {}
  void Load(const T* from) { pixel = from; }
  Vector<T> Row(int i) const { return Broadcast(pixel[i]); }

  const T* pixel;
};

// Each row of a tile has the channel of each lane's group, all of which one vector of X holds.
template <typename T, int kRows>
struct SeveralGroups {
  explicit SeveralGroups(const LaneIndex<T>* first_channels) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) channels[i] = wgrad::WGRAD_ISA::Load(first_channels) + LaneIndex<T>{i};
  }
  template <typename Source>
  void Load(const Source* from) {
    pixel = LoadWidened(from);
  }
  Vector<T> Row(int i) const { return __builtin_shuffle(pixel, channels[i]); }

  Vector<LaneIndex<T>> channels[kRows];
  Vector<T> pixel;
};

template <typename T, typename Source, template <typename, int> typename Groups, int kRows, int kVectors>
void MultiplyGrid(const PixelGrid& grid, const void* x_source, const void* dy_source,
                  const LaneIndex<T>* first_channels, T* tile, int64_t tile_stride, bool accumulate,
                  RunLookahead* lookahead) {
  constexpr int kParts = PixelsPerAsk(kRows * kVectors);
  Vector<T> sum[kParts][kRows][kVectors] = {};
  Groups<T, kRows> x_rows(first_channels);
  RunLookahead ahead = *lookahead;  // in registers
  const Source* x_row = static_cast<const Source*>(x_source);
  const Source* dy_row = static_cast<const Source*>(dy_source);
  for (int64_t row = 0; row < grid.rows; ++row, x_row += grid.x_row_step, dy_row += grid.dy_row_step) {
    const Source* x = x_row;
    const Source* dy = dy_row;
    const auto multiply = [&](int part) __attribute__((always_inline)) {
      x_rows.Load(x);
      Vector<T> dy_vector[kVectors];
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) dy_vector[j] = LoadWidened(dy + j * kLanes<T>);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const Vector<T> x_vector = x_rows.Row(i);
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) sum[part][i][j] += x_vector * dy_vector[j];
      }
      x += grid.x_step;
      dy += grid.dy_step;
    };
    int64_t pixel = 0;
    for (; pixel + kParts <= grid.columns; pixel += kParts) {
      for (RunLookahead::Stream& stream : ahead.streams) stream.Ask();
#pragma GCC unroll 8
      for (int part = 0; part < kParts; ++part) multiply(part);
    }
    for (; pixel < grid.columns; ++pixel) multiply(0);
  }
  *lookahead = ahead;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
#pragma GCC unroll 8
      for (int part = 1; part < kParts; ++part) sum[0][i][j] += sum[part][i][j];
      T* to = tile + i * tile_stride + j * kLanes<T>;
      Store(accumulate ? Load(to) + sum[0][i][j] : sum[0][i][j], to);
    }
  }
}

template <typename Source, typename T, int kRows = 1>
void FillSeveralGroupsKernels(GridKernel<T>* kernels) {
  if constexpr (kRows <= kMaxSharedRows) {
    kernels[kRows] = MultiplyGrid<T, Source, SeveralGroups, kRows, 1>;
    FillSeveralGroupsKernels<Source, T, kRows + 1>(kernels);
  }
}

template <typename T, int kVectors, int kRows = 1>
void FillOneGroupKernels(Kernels<T>* kernels) {
  if constexpr (kRows <= MaxRows(kVectors)) {
    kernels->one_group[kVectors][kRows] = MultiplyGrid<T, T, OneGroup, kRows, kVectors>;
    FillOneGroupKernels<T, kVectors, kRows + 1>(kernels);
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_GROUPS_IN_PLACE_KERNEL_H_
