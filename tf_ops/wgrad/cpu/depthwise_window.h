// The kernel for depthwise convolutions of stride 1 or 2 without dilation: the outputs that see a pixel of X slide
// through registers, so that every pixel is loaded once for all columns of the filter.
#ifndef TF_OPS_WGRAD_CPU_DEPTHWISE_WINDOW_H_
#define TF_OPS_WGRAD_CPU_DEPTHWISE_WINDOW_H_

#include <algorithm>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/pack.h"

namespace wgrad::WGRAD_ISA {
namespace {

// Outputs that see a pixel of X through one row of the filter.
constexpr int WindowOutputs(int columns, int stride) { return (columns + stride - 1) / stride; }

// As many rows of the filter as leave registers for the window and a pixel of X. More than three would gain no more
// independent sums than the multiply-adds need.
constexpr int WindowRows(int columns, int stride) {
  return std::clamp((WGRAD_VECTOR_REGISTERS - 1 - WindowOutputs(columns, stride)) / columns, 1, std::min(columns, 3));
}

// What to ask for while the vector of channels c is multiplied: channels of a row of X that the output row before did
// not see, and of dY.
template <typename Source, typename T, int kStride>
struct NextChannels {
  // Lines that are asked for two lines ahead arrive in time and stay in the first-level cache. Behind the last channels
  // come the first ones of the next output row. With stride 2 two rows are new: each vector of a line asks for one of
  // them (both for each cost 5 x 5 filters 15 %).
  NextChannels(const PixelWindow& w, const Source* new_rows, const Source* dy_rows, int64_t c) {
    constexpr int64_t kAhead = 2 * 64 / sizeof(Source);
    const int64_t rows = c + kAhead < w.channels ? 0 : w.output_rows;
    const int64_t channel = c + kAhead - (rows > 0 ? w.channels : 0);
    x = new_rows + c / kLanes<T> % kStride * w.row_step + rows * w.x_ahead + channel;
    dy = dy_rows + rows * w.dy_ahead + channel;
  }

  void Ask(const PixelWindow& w, int64_t i) const {
#pragma GCC unroll 2
    for (int phase = 0; phase < kStride; ++phase) __builtin_prefetch(x + i * w.x_step + phase * w.column_step);
    __builtin_prefetch(dy + i * w.dy_step);
  }

  const Source* x;
  const Source* dy;
};

// The next output row's in the order of the memory, where rows lie in one piece: each step asks for as much as it
// multiplies.
template <typename Source, typename T, int kStride>
struct NextRows {
  NextRows(const PixelWindow& w, const Source* new_rows, const Source* dy_rows, int64_t c)
      : x(new_rows + w.output_rows * w.x_ahead + c * w.pixels * kStride * kStride),
        dy(dy_rows + w.output_rows * w.dy_ahead + c * w.pixels) {}

  void Ask(const PixelWindow&, int64_t i) const {
    constexpr int64_t kStep = kStride * kStride * kLanes<T>, kLine = 64 / sizeof(Source);
#pragma GCC unroll 4
    for (int64_t line = 0; line < kStep; line += kLine) __builtin_prefetch(x + i * kStep + line);
    __builtin_prefetch(dy + i * kLanes<T>);
  }

  const Source* x;
  const Source* dy;
};

// One vector of channels. Step i loads output i into the window, whose outputs meet the columns of X from i * kStride
// on.
template <typename Source, typename T, int kColumns, int kStride, int kRows, typename Next>
inline void SlideWindow(const PixelWindow& w, const Source* x, const Source* dy, Next next, int64_t sum_row_stride,
                        int64_t sum_stride, T* sums) {
  constexpr int kOutputs = WindowOutputs(kColumns, kStride);
  Vector<T> sum[kRows][kColumns] = {};
  Vector<T> window[kOutputs] = {};  // window[j] is output i - j
  const auto has_output = [&](int64_t i) { return i >= 0 && i < w.pixels; };
  const auto is_inside = [&](int64_t column) { return column >= w.inside_begin && column < w.inside_end; };
  const auto slide = [&] {
#pragma GCC unroll 8
    for (int j = kOutputs - 1; j > 0; --j) window[j] = window[j - 1];
  };
  // The first and the last steps see the padding, or have no output for some columns of the filter.
  const auto edge = [&](int64_t i) {
    if (has_output(i)) window[0] = LoadWidened(dy + i * w.dy_step);
#pragma GCC unroll 8
    for (int k = 0; k < kColumns; ++k) {
      if (!has_output(i - k / kStride) || !is_inside(i * kStride + k % kStride)) continue;
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        sum[r][k] += LoadWidened(x + r * w.row_step + i * w.x_step + k % kStride * w.column_step) * window[k / kStride];
      }
    }
    slide();
  };
  const auto inner = [&](int64_t i) __attribute__((always_inline)) {
    next.Ask(w, i);
    window[0] = LoadWidened(dy + i * w.dy_step);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (int phase = 0; phase < kStride; ++phase) {
        const Vector<T> pixel = LoadWidened(x + r * w.row_step + i * w.x_step + phase * w.column_step);
#pragma GCC unroll 8
        for (int k = phase; k < kColumns; k += kStride) sum[r][k] += pixel * window[k / kStride];
      }
    }
    slide();
  };

  const int64_t begin = w.inside_begin / kStride;
  const int64_t end = std::min((w.inside_end + kStride - 1) / kStride, w.pixels + kOutputs - 1);
  const int64_t inner_begin = std::max<int64_t>((w.inside_begin + kStride - 1) / kStride, kOutputs - 1);
  const int64_t inner_end = std::min(w.inside_end / kStride, w.pixels);
  for (int64_t row = 0; row < w.output_rows; ++row) {
    int64_t i = begin;
    for (int j = 1; j < kOutputs; ++j) {
      if (has_output(i - j)) window[j] = LoadWidened(dy + (i - j) * w.dy_step);
    }
    while (i < end) {
      if (i < inner_begin || i >= inner_end) {
        edge(i++);
      } else if (i + kOutputs > inner_end) {
        inner(i++);
      } else {
        // So many steps at once bring the window's registers back to where they were.
#pragma GCC unroll 8
        for (int j = 0; j < kOutputs; ++j) inner(i++);
      }
    }
    x += w.x_ahead;
    dy += w.dy_ahead;
    next.x += w.x_ahead;
    next.dy += w.dy_ahead;
  }

#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int k = 0; k < kColumns; ++k) {
      T* to = sums + r * sum_row_stride + k * sum_stride;
      Store(Load(to) + sum[r][k], to);
    }
  }
}

// All rows of the filter, as many at a time as fit into the registers.
template <typename Source, typename T, int kColumns, int kStride, int kRows = WindowRows(kColumns, kStride),
          typename Next>
inline void SlideWindows(const PixelWindow& w, int64_t rows, const Source* x, const Source* dy, Next next, T* sums) {
  for (; rows >= kRows; rows -= kRows, x += kRows * w.row_step, sums += kRows * w.sum_row_stride) {
    SlideWindow<Source, T, kColumns, kStride, kRows>(w, x, dy, next, w.sum_row_stride, w.sum_stride, sums);
  }
  if constexpr (kRows > 1) SlideWindows<Source, T, kColumns, kStride, kRows - 1>(w, rows, x, dy, next, sums);
}

// The whole vectors of channels; returns where they end.
template <typename Next, typename Source, typename T, int kColumns, int kStride>
int64_t MultiplyVectors(const PixelWindow& w, const Source* x, const Source* dy, T* sums) {
  const Source* new_rows = x + (w.rows - kStride) * w.row_step;
  int64_t c = 0;
  for (; c + kLanes<T> <= w.channels; c += kLanes<T>) {
    SlideWindows<Source, T, kColumns, kStride>(w, w.rows, x + c, dy + c, Next(w, new_rows, dy, c), sums + c);
  }
  return c;
}

template <typename Source, typename T, int kColumns, int kStride>
void MultiplyWindow(const PixelWindow& w, const void* x_pixel, const void* dy_pixel, T* sums) {
  using Channels = NextChannels<Source, T, kStride>;
  const Source* x = static_cast<const Source*>(x_pixel);
  const Source* dy = static_cast<const Source*>(dy_pixel);
  const auto multiply_vectors = w.whole_rows
                                    ? MultiplyVectors<NextRows<Source, T, kStride>, Source, T, kColumns, kStride>
                                    : MultiplyVectors<Channels, Source, T, kColumns, kStride>;
  const int64_t c = multiply_vectors(w, x, dy, sums);
  if (c == w.channels) return;
  // The last vector overlaps the one before, whose sums are complete.
  const int64_t last = w.channels - kLanes<T>;
  for (int64_t r = 0; r < w.rows; ++r) {
    T row_sums[kColumns * kLanes<T>] = {};
    SlideWindow<Source, T, kColumns, kStride, 1>(w, x + r * w.row_step + last, dy + last, Channels(w, x, dy, 0), 0,
                                                 kLanes<T>, row_sums);
    for (int k = 0; k < kColumns; ++k) {
      T* to = sums + r * w.sum_row_stride + k * w.sum_stride;
      for (int64_t i = c; i < w.channels; ++i) to[i] += row_sums[k * kLanes<T> + i - last];
    }
  }
}

template <typename Source, typename T>
void FillWindowKernels(WindowKernel<T> (*kernels)[kMaxWindowColumns + 1]) {
  kernels[1][3] = MultiplyWindow<Source, T, 3, 1>;
  kernels[1][5] = MultiplyWindow<Source, T, 5, 1>;
  kernels[1][7] = MultiplyWindow<Source, T, 7, 1>;
  kernels[2][3] = MultiplyWindow<Source, T, 3, 2>;
  kernels[2][5] = MultiplyWindow<Source, T, 5, 2>;
  kernels[2][7] = MultiplyWindow<Source, T, 7, 2>;
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_DEPTHWISE_WINDOW_H_
