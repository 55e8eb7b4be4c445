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

template <typename Source>
constexpr int64_t kLine = kCacheLine / sizeof(Source);  // in elements

// Moves a pointer on, unseen by GCC 12, which would make one offset of each step of an unrolled loop, more than there
// are registers: stride 2 on 14 x 14 pixels lost 15 % to loads of them from the stack.
template <typename Source>
inline void MoveOn(int64_t step, const Source** pointer) {
  *pointer += step;
  asm("" : "+r"(*pointer));
}

// What to ask for while the vector of channels c is multiplied: channels of a row of X that the output row before did
// not see, and of dY. Lines that are asked for two lines ahead arrive in time and stay in the first-level cache. Behind
// the last channels come the first ones of the next output row.
template <typename Source, typename T, int kStride>
class NextChannels {
 public:
  NextChannels(const PixelWindow& w, const Source* new_rows, const Source* dy_rows, int64_t c) {
    constexpr int64_t kAhead = 2 * kLine<Source>;
    const int64_t rows = c + kAhead < w.channels ? 0 : w.output_rows;
    const int64_t channel = c + kAhead - (rows > 0 ? w.channels : 0);
    const int64_t vector = c / kLanes<T>;
    // With stride 2 two rows are new: each vector of a line asks for one of them (both cost 5 x 5 filters 15 %).
    x_ = new_rows + vector % kStride * w.row_step + rows * w.x_ahead + channel;
    dy_ = dy_rows + rows * w.dy_ahead + channel;
    x_step_ = w.column_step;
    dy_step_ = w.dy_step;
    x_ahead_ = w.x_ahead;
    dy_ahead_ = w.dy_ahead;
    if (kTakesTurns && vector % 2 == 1) {
      x_ = dy_;
      x_ahead_ = dy_ahead_;
    }
  }

  NextChannels At(int64_t row, int64_t step) const {
    NextChannels next = *this;
    next.x_ += row * x_ahead_ + step * kStride * x_step_;
    next.dy_ += row * dy_ahead_ + step * dy_step_;
    return next;
  }

  void Ask() {
#pragma GCC unroll 2
    for (int phase = 0; phase < kStride; ++phase) {
      __builtin_prefetch(x_);
      MoveOn(x_step_, &x_);
    }
    if (kTakesTurns) return;
    __builtin_prefetch(dy_);
    MoveOn(dy_step_, &dy_);
  }

 private:
  // With stride 1 and several vectors to a line one asks for X, the next for dY: 7 x 7 pixels gain 10 to 20 %.
  static constexpr bool kTakesTurns = kStride == 1 && 2 * kLanes<T> <= kLine<Source>;

  const Source* x_;
  const Source* dy_;
  int64_t x_step_, dy_step_, x_ahead_, dy_ahead_;
};

// The next output row's in the order of the memory, where rows lie in one piece: each step asks for as much as it
// multiplies. For the second-level cache alone: the first one has the lines that this window's other vectors need (10
// to 30 % lost).
template <typename Source, typename T, int kStride>
class NextRows {
 public:
  NextRows(const PixelWindow& w, const Source* new_rows, const Source* dy_rows, int64_t c)
      : x_(new_rows + w.output_rows * w.x_ahead + c * w.pixels * kStride * kStride),
        dy_(dy_rows + w.output_rows * w.dy_ahead + c * w.pixels),
        x_ahead_(w.x_ahead),
        dy_ahead_(w.dy_ahead) {
    // With stride 2 two rows are new: the first half of the channels asks for one, the second for the other.
    const int64_t row = w.pixels * kStride * w.column_step;
    if (kStride == 2 && c * w.pixels * kStride * kStride >= row) x_ += w.row_step - row;
  }

  NextRows At(int64_t row, int64_t step) const {
    NextRows next = *this;
    next.x_ += row * x_ahead_ + step * kStep;
    next.dy_ += row * dy_ahead_ + step * kLanes<T>;
    return next;
  }

  void Ask() {
#pragma GCC unroll 4
    for (int64_t line = 0; line < kStep; line += kLine<Source>) AskSecondLevelFor(x_ + line);
    AskSecondLevelFor(dy_);
    x_ += kStep;
    dy_ += kLanes<T>;
  }

 private:
  static constexpr int64_t kStep = kStride * kStride * kLanes<T>;

  const Source* x_;
  const Source* dy_;
  int64_t x_ahead_, dy_ahead_;
};

// A step that sees the padding, or has no output for some columns of the filter: two in seven of 7 x 7 pixels and a
// filter of three columns. From a table, and asking for what comes next as the inner steps do, they make 5 x 5 filters
// 1.3 to 1.5 times as fast on what comes from memory.
struct EdgeStep {
  bool has_output;
  uint8_t columns;  // of the filter that see X: a bit for each
};

// The steps through an output row. Step i loads output i into the window, whose outputs meet the columns of X from
// i * kStride on.
struct Steps {
  int64_t begin, inner_begin, inner_end, end;
  int64_t window_begin, window_end;       // of the window's outputs before the first step
  EdgeStep edges[2 * kMaxWindowColumns];  // those before the inner steps and those after them
};

// Finds steps [begin, end), and returns where the next ones go.
template <int kColumns, int kStride>
EdgeStep* FindEdgeSteps(const PixelWindow& w, int64_t begin, int64_t end, EdgeStep* edge) {
  for (int64_t i = begin; i < end; ++i, ++edge) {
    edge->has_output = i < w.pixels;
    for (int k = 0; k < kColumns; ++k) {
      const int64_t output = i - k / kStride, column = i * kStride + k % kStride;
      const bool sees = output >= 0 && output < w.pixels && column >= w.inside_begin && column < w.inside_end;
      edge->columns |= sees << k;
    }
  }
  return edge;
}

template <int kColumns, int kStride>
Steps FindSteps(const PixelWindow& w) {
  constexpr int64_t kOutputs = WindowOutputs(kColumns, kStride);
  Steps steps = {};
  steps.begin = w.inside_begin / kStride;
  steps.end = std::max(steps.begin, std::min((w.inside_end + kStride - 1) / kStride, w.pixels + kOutputs - 1));
  steps.inner_begin = std::max((w.inside_begin + kStride - 1) / kStride, kOutputs - 1);
  steps.inner_end = std::min(w.inside_end / kStride, w.pixels);
  if (steps.inner_begin >= steps.inner_end) steps.inner_begin = steps.inner_end = steps.end;
  steps.window_begin = std::max<int64_t>(1, steps.begin - w.pixels + 1);
  steps.window_end = std::min(steps.begin + 1, kOutputs);
  EdgeStep* edge = FindEdgeSteps<kColumns, kStride>(w, steps.begin, steps.inner_begin, steps.edges);
  FindEdgeSteps<kColumns, kStride>(w, steps.inner_end, steps.end, edge);
  return steps;
}

// One vector of channels. By itself, because it needs all registers: 7 x 7 pixels lost 30 % to what it was inlined in.
template <typename Source, typename T, int kColumns, int kStride, int kRows, typename Next>
__attribute__((noinline)) void SlideWindow(const PixelWindow& w, const Steps& steps, const Source* x, const Source* dy,
                                           const Next& next, int64_t sum_row_stride, int64_t sum_stride, T* sums) {
  constexpr int kOutputs = WindowOutputs(kColumns, kStride);
  const int64_t row_step = w.row_step, column_step = w.column_step, dy_step = w.dy_step;
  Vector<T> sum[kRows][kColumns] = {};
  Vector<T> window[kOutputs] = {};  // window[j] is output i - j
  for (int64_t row = 0; row < w.output_rows; ++row) {
    const Source* x_pixel = x + row * w.x_ahead + steps.begin * kStride * column_step;
    const Source* dy_pixel = dy + row * w.dy_ahead + steps.begin * dy_step;
    Next next_pixel = next.At(row, steps.begin);
    const auto slide = [&]() __attribute__((always_inline)) {
      MoveOn(dy_step, &dy_pixel);
#pragma GCC unroll 8
      for (int j = kOutputs - 1; j > 0; --j) window[j] = window[j - 1];
    };
    const auto take_edge_step = [&](const EdgeStep& edge) __attribute__((always_inline)) {
      next_pixel.Ask();
      if (edge.has_output) window[0] = LoadWidened(dy_pixel);
#pragma GCC unroll 2
      for (int phase = 0; phase < kStride; ++phase) {
#pragma GCC unroll 8
        for (int k = phase; k < kColumns; k += kStride) {
          if ((edge.columns >> k & 1) == 0) continue;
#pragma GCC unroll 4
          for (int r = 0; r < kRows; ++r) sum[r][k] += LoadWidened(x_pixel + r * row_step) * window[k / kStride];
        }
        MoveOn(column_step, &x_pixel);
      }
      slide();
    };
    const auto take_inner_step = [&]() __attribute__((always_inline)) {
      next_pixel.Ask();
      window[0] = LoadWidened(dy_pixel);
#pragma GCC unroll 2
      for (int phase = 0; phase < kStride; ++phase) {
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const Vector<T> pixel = LoadWidened(x_pixel + r * row_step);
#pragma GCC unroll 8
          for (int k = phase; k < kColumns; k += kStride) sum[r][k] += pixel * window[k / kStride];
        }
        MoveOn(column_step, &x_pixel);
      }
      slide();
    };

#pragma GCC unroll 8
    for (int j = 1; j < kOutputs; ++j) {
      if (j >= steps.window_begin && j < steps.window_end) window[j] = LoadWidened(dy_pixel - j * dy_step);
    }
    const EdgeStep* edge = steps.edges;
    for (int64_t i = steps.begin; i < steps.inner_begin; ++i) take_edge_step(*edge++);
    int64_t inner_steps = steps.inner_end - steps.inner_begin;
    // So many steps at once bring the window's registers back to where they were.
    for (; inner_steps >= kOutputs; inner_steps -= kOutputs) {
#pragma GCC unroll 8
      for (int j = 0; j < kOutputs; ++j) take_inner_step();
    }
    for (; inner_steps > 0; --inner_steps) take_inner_step();
    for (int64_t i = steps.inner_end; i < steps.end; ++i) take_edge_step(*edge++);
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
inline void SlideWindows(const PixelWindow& w, const Steps& steps, int64_t rows, const Source* x, const Source* dy,
                         const Next& next, T* sums) {
  for (; rows >= kRows; rows -= kRows, x += kRows * w.row_step, sums += kRows * w.sum_row_stride) {
    SlideWindow<Source, T, kColumns, kStride, kRows>(w, steps, x, dy, next, w.sum_row_stride, w.sum_stride, sums);
  }
  if constexpr (kRows > 1) SlideWindows<Source, T, kColumns, kStride, kRows - 1>(w, steps, rows, x, dy, next, sums);
}

// The whole vectors of channels; returns where they end.
template <typename Next, typename Source, typename T, int kColumns, int kStride>
int64_t MultiplyVectors(const PixelWindow& w, const Steps& steps, const Source* x, const Source* dy, T* sums) {
  const Source* new_rows = x + (w.rows - kStride) * w.row_step;
  int64_t c = 0;
  for (; c + kLanes<T> <= w.channels; c += kLanes<T>) {
    SlideWindows<Source, T, kColumns, kStride>(w, steps, w.rows, x + c, dy + c, Next(w, new_rows, dy, c), sums + c);
  }
  return c;
}

template <typename Source, typename T, int kColumns, int kStride>
void MultiplyWindow(const PixelWindow& w, const void* x_pixel, const void* dy_pixel, T* sums) {
  using Channels = NextChannels<Source, T, kStride>;
  const Source* x = static_cast<const Source*>(x_pixel);
  const Source* dy = static_cast<const Source*>(dy_pixel);
  const Steps steps = FindSteps<kColumns, kStride>(w);
  if (steps.begin == steps.end) return;
  const auto multiply_vectors = w.whole_rows
                                    ? MultiplyVectors<NextRows<Source, T, kStride>, Source, T, kColumns, kStride>
                                    : MultiplyVectors<Channels, Source, T, kColumns, kStride>;
  const int64_t c = multiply_vectors(w, steps, x, dy, sums);
  if (c == w.channels) return;
  // The last vector overlaps the one before, whose sums are complete.
  const int64_t last = w.channels - kLanes<T>;
  for (int64_t r = 0; r < w.rows; ++r) {
    T row_sums[kColumns * kLanes<T>] = {};
    SlideWindow<Source, T, kColumns, kStride, 1>(w, steps, x + r * w.row_step + last, dy + last, Channels(w, x, dy, 0),
                                                 0, kLanes<T>, row_sums);
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
