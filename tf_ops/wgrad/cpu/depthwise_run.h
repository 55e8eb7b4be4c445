// The kernel for depthwise convolutions of any stride and dilation: nothing is copied, and every channel of a row is
// read before the next row is.
#ifndef TF_OPS_WGRAD_CPU_DEPTHWISE_RUN_H_
#define TF_OPS_WGRAD_CPU_DEPTHWISE_RUN_H_

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/pack.h"

namespace wgrad::WGRAD_ISA {
namespace {

// One row of the filter.
template <typename Source, typename T, int kColumns, int kVectors>
inline void SumRow(const PixelRun& run, bool ask_for_next, const Source* x, const Source* dy, T* sums) {
  Vector<T> sum[kColumns][kVectors] = {};
  const Source* column_x[kColumns];
#pragma GCC unroll 5
  for (int k = 0; k < kColumns; ++k) column_x[k] = x + k * run.column_step;
  // A stride may skip a pixel.
  const Source* next_x[2] = {x + run.x_ahead, x + run.x_ahead + (run.x_step > run.column_step ? run.column_step : 0)};
  for (const Segment* s = run.segments; s < run.segments + run.segment_count; ++s) {
    const int64_t begin = s->columns_begin - run.first_column, end = s->columns_end - run.first_column;
    if (begin >= kColumns || end <= 0) continue;
    int64_t offset = s->ow * run.x_step;
    const Source* dy_pixel = dy + s->ow * run.dy_step;
    const auto multiply = [&](auto is_inside) __attribute__((always_inline)) {
      Vector<T> dy_vector[kVectors];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) dy_vector[v] = LoadWidened(dy_pixel + v * kLanes<T>);
#pragma GCC unroll 5
      for (int k = 0; k < kColumns; ++k) {
        if (!is_inside(k)) continue;
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          sum[k][v] += LoadWidened(column_x[k] + offset + v * kLanes<T>) * dy_vector[v];
        }
      }
    };
    if (begin > 0 || end < kColumns) {
      for (int64_t i = 0; i < s->pixels; ++i, offset += run.x_step, dy_pixel += run.dy_step) {
        multiply([=](int k) { return k >= begin && k < end; });
      }
      continue;
    }
    for (int64_t i = 0; i < s->pixels; ++i, offset += run.x_step, dy_pixel += run.dy_step) {
      // Vectors that are many channels apart defeat the hardware prefetchers: MobileNet-V2's layers of stride 2 run 1.5
      // times as fast when they are asked for. The first-level cache does not hold a row.
      if (ask_for_next) {
        AskSecondLevelFor(next_x[0] + offset);
        AskSecondLevelFor(next_x[1] + offset);
        AskSecondLevelFor(dy_pixel + run.dy_ahead);
      }
      multiply([](int) { return true; });
    }
  }
#pragma GCC unroll 5
  for (int k = 0; k < kColumns; ++k) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      T* to = sums + k * run.sum_stride + v * kLanes<T>;
      Store(Load(to) + sum[k][v], to);
    }
  }
}

template <typename Source, typename T, int kColumns, int kVectors>
inline void SumRows(const PixelRun& run, const Source* x, const Source* dy, T* sums) {
  for (int64_t row = 0; row < run.rows; ++row, x += run.row_step, sums += run.sum_row_stride) {
    SumRow<Source, T, kColumns, kVectors>(run, row + run.new_rows >= run.rows, x, dy, sums);
  }
}

// Two vectors at a time are a cache line of float32 (AVX2), and enough independent sums. All rows of the filter use a
// line of dY while it is in the first-level cache.
template <typename Source, typename T, int kColumns>
void MultiplyRun(const PixelRun& run, const void* x_pixel, const void* dy_pixel, T* sums) {
  const Source* x = static_cast<const Source*>(x_pixel);
  const Source* dy = static_cast<const Source*>(dy_pixel);
  int64_t c = 0;
  for (; c + 2 * kLanes<T> <= run.channels; c += 2 * kLanes<T>) {
    SumRows<Source, T, kColumns, 2>(run, x + c, dy + c, sums + c);
  }
  for (; c + kLanes<T> <= run.channels; c += kLanes<T>) {
    SumRows<Source, T, kColumns, 1>(run, x + c, dy + c, sums + c);
  }
  if (c == run.channels) return;
  // The last vector overlaps the one before, whose sums are complete.
  const int64_t last = run.channels - kLanes<T>;
  PixelRun row = run;
  row.rows = 1;
  row.sum_stride = kLanes<T>;
  for (int64_t r = 0; r < run.rows; ++r) {
    row.new_rows = r + run.new_rows >= run.rows ? 1 : 0;
    T row_sums[kColumns * kLanes<T>] = {};
    SumRows<Source, T, kColumns, 1>(row, x + r * run.row_step + last, dy + last, row_sums);
    for (int k = 0; k < kColumns; ++k) {
      T* to = sums + r * run.sum_row_stride + k * run.sum_stride;
      for (int64_t i = c; i < run.channels; ++i) to[i] += row_sums[k * kLanes<T> + i - last];
    }
  }
}

template <typename Source, typename T, int kColumns = 1>
void FillRunKernels(RunKernel<T>* kernels) {
  if constexpr (kColumns <= kMaxRunColumns) {
    kernels[kColumns] = MultiplyRun<Source, T, kColumns>;
    FillRunKernels<Source, T, kColumns + 1>(kernels);
  }
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_DEPTHWISE_RUN_H_
