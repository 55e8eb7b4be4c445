// The loops that the algorithms share around the micro-kernel.
#ifndef TF_OPS_WGRAD_CPU_BLOCKING_H_
#define TF_OPS_WGRAD_CPU_BLOCKING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

inline int64_t RoundUp(int64_t value, int64_t multiple) { return CeilDiv(value, multiple) * multiple; }

// Scratch memory is handed out in whole cache lines.
inline int64_t AlignedBytes(int64_t bytes) { return RoundUp(bytes, 64); }

// Multiplies one packed slice of A (`rows` columns of a) by all panels of B: tile by tile, the rows in near-equal
// shares so that no tile is thin.
template <typename T>
inline void MultiplySlice(const Kernels<T>& kernels, int64_t depth, const T* a, int64_t a_stride, int64_t rows,
                          const T* b, int64_t pitch, int64_t columns, const int32_t* b_rows, T* sums,
                          int64_t sum_stride, bool accumulate) {
  const int64_t panel_width = kMaxVectors * kernels.lanes;
  for (int64_t column = 0; column < columns; column += panel_width) {
    const int64_t vectors = CeilDiv(std::min(panel_width, columns - column), kernels.lanes);
    int64_t tiles = CeilDiv(rows, kernels.max_rows[vectors]);
    for (int64_t row = 0; row < rows; --tiles) {
      const int64_t tile_rows = CeilDiv(rows - row, tiles);
      kernels.micro[vectors][tile_rows](depth, a + row, a_stride, b + column * pitch, b_rows,
                                        sums + row * sum_stride + column, sum_stride, accumulate);
      row += tile_rows;
    }
  }
}

template <typename T>
bool AllFinite(const T* values, int64_t count) {
  return std::all_of(values, values + count, [](T value) { return std::isfinite(value); });
}

// How one partial sum lies in memory: `rows` (taps and input channels) of `groups` runs, each of `columns` output
// channels padded to whole vectors.
struct SumLayout {
  int64_t rows, groups, columns, padded_columns;

  int64_t row_elements() const { return groups * padded_columns; }
  int64_t elements() const { return rows * row_elements(); }
};

// Adds `partials` sums in their order and rounds to the type of dW.
template <typename T>
void ReducePartialSums(const Kernels<T>& kernels, DataType dtype, const SumLayout& layout, const T* sums,
                       int64_t partials, void* filter_backprop, Executor* executor) {
  constexpr int64_t kElementsPerTask = 16384;
  const int64_t rows_per_task = std::max<int64_t>(1, kElementsPerTask / layout.row_elements());
  char* to = static_cast<char*>(filter_backprop);
  executor->Run(CeilDiv(layout.rows, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(layout.rows, (task + 1) * rows_per_task);
    for (int64_t run = task * rows_per_task * layout.groups; run < end * layout.groups; ++run) {
      kernels.reduce[static_cast<int>(dtype)](sums + run * layout.padded_columns, layout.elements(), partials,
                                              layout.columns, to + run * layout.columns * ElementSize(dtype));
    }
  });
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_BLOCKING_H_
