// Kernels for X and dY that are multiplied where they lie.
#ifndef TF_OPS_WGRAD_CPU_GRID_KERNEL_H_
#define TF_OPS_WGRAD_CPU_GRID_KERNEL_H_

#include <algorithm>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/microkernel.h"
#include "tf_ops/wgrad/cpu/pack.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace wgrad::WGRAD_ISA {
namespace {

// Stores all lanes from `first` on.
template <typename T>
inline void StoreFrom(int64_t first, Vector<T> value, T* to) {
#if WGRAD_VECTOR_BYTES == 64 && defined(__AVX512F__)
  if constexpr (sizeof(T) == sizeof(float)) {
    _mm512_mask_storeu_ps(to, static_cast<__mmask16>(0xffffu << first), (__m512)value);
  } else {
    _mm512_mask_storeu_pd(to, static_cast<__mmask8>(0xffu << first), (__m512d)value);
  }
#else
  for (int64_t i = first; i < kLanes<T>; ++i) to[i] = value[i];
#endif
}

// Each row of a tile has one channel of X, for all lanes. A last vector that is not full begins before its columns, so
// that it ends with them.
template <typename T, int kRows>
struct OneGroup {
  OneGroup(const LaneIndex<T>*, int64_t last_lanes) : missing(std::max<int64_t>(0, kLanes<T> - last_lanes)) {}
  void Load(const T* from) { pixel = from; }
  Vector<T> Row(int i) const { return Broadcast(pixel[i]); }
  template <typename Arithmetic>
  Vector<T> AddRow(Vector<T> sum, int i, Vector<T> dy) const {
    return Arithmetic::ApplyBroadcast(sum, pixel + i, dy);
  }
  Vector<T> LoadLast(const T* from) const { return wgrad::WGRAD_ISA::Load(from - missing); }
  void StoreLast(Vector<T> value, T* to) const { StoreFrom<T>(missing, value, to - missing); }

  const int64_t missing;
  const T* pixel;
};

// Each row of a tile has the channel of each lane's group, all of which one vector of X holds.
template <typename T, int kRows>
struct SeveralGroups {
  SeveralGroups(const LaneIndex<T>* first_channels, int64_t) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) channels[i] = wgrad::WGRAD_ISA::Load(first_channels) + LaneIndex<T>{i};
  }
  template <typename Source>
  void Load(const Source* from) {
    pixel = LoadWidened(from);
  }
  template <typename Arithmetic>
  Vector<T> AddRow(Vector<T> sum, int i, Vector<T> dy) const {
    return Arithmetic::Apply(sum, __builtin_shuffle(pixel, channels[i]), dy);
  }
  template <typename Source>
  Vector<T> LoadLast(const Source* from) const {
    return LoadWidened(from);
  }
  void StoreLast(Vector<T> value, T* to) const { Store(value, to); }

  Vector<LaneIndex<T>> channels[kRows];
  Vector<T> pixel;
};

template <typename T, typename Source, typename Arithmetic, template <typename, int> typename Groups, int kRows,
          int kVectors>
void MultiplyGrid(const PixelGrid& grid, const void* x_source, const void* dy_source,
                  const LaneIndex<T>* first_channels, T* tile, int64_t tile_stride, int64_t columns, bool accumulate,
                  RunLookahead* lookahead) {
  constexpr int kParts = PixelsPerAsk(kRows * kVectors), kLast = kVectors - 1;
  Vector<T> sum[kParts][kRows][kVectors] = {};
  Groups<T, kRows> groups(first_channels, columns - kLast * kLanes<T>);
  RunLookahead ahead = *lookahead;  // in registers
  for (int64_t image = 0; image < grid.images; ++image) {
    const Source* x_row = static_cast<const Source*>(x_source) + image * grid.x_image_step;
    const Source* dy_row = static_cast<const Source*>(dy_source) + image * grid.dy_image_step;
    for (int64_t row = 0; row < grid.rows; ++row, x_row += grid.x_row_step, dy_row += grid.dy_row_step) {
      const Source* x = x_row;
      const Source* dy = dy_row;
      const auto multiply = [&](int part) __attribute__((always_inline)) {
        groups.Load(x);
        Vector<T> dy_vector[kVectors];
#pragma GCC unroll 2
        for (int j = 0; j < kLast; ++j) dy_vector[j] = LoadWidened(dy + j * kLanes<T>);
        dy_vector[kLast] = groups.LoadLast(dy + kLast * kLanes<T>);
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          if constexpr (kVectors == 1) {
            sum[part][i][0] = groups.template AddRow<Arithmetic>(sum[part][i][0], i, dy_vector[0]);
          } else {
            const Vector<T> x_vector = groups.Row(i);
#pragma GCC unroll 2
            for (int j = 0; j < kVectors; ++j) {
              sum[part][i][j] = Arithmetic::Apply(sum[part][i][j], x_vector, dy_vector[j]);
            }
          }
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
  }
  *lookahead = ahead;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) {
#pragma GCC unroll 8
      for (int part = 1; part < kParts; ++part) sum[0][i][j] += sum[part][i][j];
      T* to = tile + i * tile_stride + j * kLanes<T>;
      if (j < kLast) {
        Store(accumulate ? Load(to) + sum[0][i][j] : sum[0][i][j], to);
      } else {
        groups.StoreLast(accumulate ? groups.LoadLast(to) + sum[0][i][j] : sum[0][i][j], to);
      }
    }
  }
}

template <typename Source, typename T, int kRows = 1>
void FillSeveralGroupsKernels(GridKernel<T>* kernels) {
  if constexpr (kRows <= kMaxSharedRows) {
    kernels[kRows] = MultiplyGrid<T, Source, MultiplyAdd, SeveralGroups, kRows, 1>;
    FillSeveralGroupsKernels<Source, T, kRows + 1>(kernels);
  }
}

template <typename T, typename Arithmetic, int kVectors, int kRows = 1>
void FillOneGroupKernels(Kernels<T>* kernels) {
  if constexpr (kRows <= MaxRows(kVectors)) {
    kernels->one_group[kVectors][kRows] = MultiplyGrid<T, T, Arithmetic, OneGroup, kRows, kVectors>;
    FillOneGroupKernels<T, Arithmetic, kVectors, kRows + 1>(kernels);
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_GRID_KERNEL_H_
