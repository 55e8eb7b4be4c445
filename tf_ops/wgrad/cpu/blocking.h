// The loops that the algorithms share around the micro-kernel.
#ifndef TF_OPS_WGRAD_CPU_BLOCKING_H_
#define TF_OPS_WGRAD_CPU_BLOCKING_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

inline int64_t RoundUp(int64_t value, int64_t multiple) { return CeilDiv(value, multiple) * multiple; }

// Scratch memory is handed out in whole cache lines.
inline int64_t AlignedBytes(int64_t bytes) { return RoundUp(bytes, 64); }

// Pixels that a micro-kernel multiplies at once.
inline int64_t PixelsPerRow(bool bf16_pairs) { return bf16_pairs ? 2 : 1; }

// Rows of one packed slice of A: 16 where that divides the rows, so that a slice is whole cache lines of X, otherwise
// near-equal slices of at most 24, so that none is thin. 128 pixels of 24 floats are 12 KiB of the first-level cache,
// beside 12 KiB of B.
inline int64_t SliceRows(int64_t rows) {
  constexpr int64_t kLine = 16, kMost = 24;
  if (rows % kLine == 0) return kLine;
  return NearEqualShare(rows, kMost);
}

// As many tasks as keep each above flops_per_task, at most 32. 2 MFLOP are 20 us where products are dense: twice as
// many cost 2_1x1c 3 % (more partial sums) and 3_3x3s2 6 % (dY is packed by more tasks).
inline int64_t WantedTasks(const Problem& p, double flops_per_task = 2e6) {
  constexpr int64_t kMaxTasks = 32;
  return std::clamp<int64_t>(static_cast<int64_t>(DirectFlops(p) / flops_per_task), 1, kMaxTasks);
}

// How many partial sums `bytes` hold: at least the one that there must be.
inline int64_t PartialSumsWithin(int64_t bytes, int64_t sum_bytes) { return std::max<int64_t>(1, bytes / sum_bytes); }

// Slices in powers of two: 2 and 4 threads share eight out evenly; of seven one of two threads has four.
inline int64_t PowerOfTwoWithin(int64_t value) {
  int64_t power = 1;
  while (2 * power <= value) power *= 2;
  return power;
}

// Into how many slices to cut the `blocks` blocks of pixels for so many tasks: each task then reads its own part of X
// and dY, as far as the partial sums stay within 4 MiB.
inline int64_t DepthSlices(int64_t wanted_tasks, int64_t blocks, int64_t sum_bytes) {
  constexpr int64_t kPartialBytes = 4 << 20;
  return std::min({wanted_tasks, blocks, PartialSumsWithin(kPartialBytes, sum_bytes)});
}

// Into how many partial sums to cut `additions` additions to memory, each of which rounds, so that none is a chain of
// more than max_chain, as far as 16 MiB hold them.
inline int64_t ChainSlices(int64_t additions, int64_t sum_bytes, int64_t max_chain = 256) {
  constexpr int64_t kPartialBytes = 16 << 20;
  return std::min(CeilDiv(additions, max_chain), PartialSumsWithin(kPartialBytes, sum_bytes));
}

// Tiles of MultiplySlice.
template <typename T>
inline int64_t Tiles(const Kernels<T>& kernels, int64_t rows, int64_t columns) {
  const int64_t panel_width = kMaxVectors * kernels.lanes;
  const int64_t full_panels = columns / panel_width;
  const int64_t vectors = CeilDiv(columns % panel_width, kernels.lanes);
  return full_panels * CeilDiv(rows, kernels.max_rows[kMaxVectors]) +
         (vectors == 0 ? 0 : CeilDiv(rows, kernels.max_rows[vectors]));
}

// How often MultiplySlice asks through a Lookahead.
template <typename T>
inline int64_t Asks(const Kernels<T>& kernels, int64_t pixels, int64_t rows, int64_t columns) {
  return pixels / kernels.lookahead_pixels * Tiles(kernels, rows, columns);
}

// Where the rows of B lie, of which a panel is some neighbouring columns.
template <typename T>
struct PanelsOfB {
  const T* first;
  int64_t column_step;  // from what one column's panel would begin with to the next one's
  int64_t row_stride;   // or 0, for as many elements as the panel has columns

  static PanelsOfB Packed(const T* first, int64_t pitch) { return {first, pitch, 0}; }
  static PanelsOfB InPlace(const T* first, int64_t row_stride) { return {first, 1, row_stride}; }
};

// Multiplies `pixels` of one packed slice of A (`rows` columns of a) by the same ones of all panels of B, tile by tile.
// Those of an indexed operand are found through `index`, whose first entry is that of the first pixel. before_tile
// may ask for memory that is needed later.
template <typename T, typename BeforeTile>
inline void MultiplySlice(const Kernels<T>& kernels, Indexed indexed, Range pixels, const T* a, int64_t a_stride,
                          int64_t rows, const PanelsOfB<T>& b, int64_t columns, const int32_t* index,
                          const Sums<T>& sums, std::optional<Lookahead>& lookahead, const BeforeTile& before_tile) {
  const int64_t panel_width = kMaxVectors * kernels.lanes;
  if (indexed != kIndexedA) a += pixels.begin * a_stride;
  for (int64_t column = 0; column < columns; column += panel_width) {
    const int64_t vectors = CeilDiv(std::min(panel_width, columns - column), kernels.lanes);
    const int64_t b_stride = b.row_stride > 0 ? b.row_stride : vectors * kernels.lanes;
    const T* panel = b.first + column * b.column_step;
    if (indexed != kIndexedB) panel += pixels.begin * b_stride;
    ForEachShare(rows, kernels.max_rows[vectors], [&](int64_t row, int64_t tile_rows) {
      before_tile();
      kernels.micro[indexed][vectors][tile_rows](pixels.size(), a + row, a_stride, panel, b_stride, index,
                                                 sums.From(row, column), lookahead ? &*lookahead : nullptr);
    });
  }
}

// How one partial sum lies in memory: `rows` (taps and input channels) of `groups` runs, each of `columns` output
// channels padded to whole vectors.
struct SumLayout {
  int64_t rows, groups, columns, padded_columns;

  int64_t row_elements() const { return groups * padded_columns; }
  int64_t elements() const { return rows * row_elements(); }
};

// Adds `partials` sums in their order and rounds to the type of dW. Whether all were finite before that: an Inf or NaN
// stays one, whatever is added to it.
template <typename T>
bool ReducePartialSums(const Kernels<T>& kernels, DataType dtype, const SumLayout& layout, const T* sums,
                       int64_t partials, void* filter_backprop, Executor* executor) {
  constexpr int64_t kElementsPerTask = 16384;
  const int64_t rows_per_task = std::max<int64_t>(1, kElementsPerTask / layout.row_elements());
  char* to = static_cast<char*>(filter_backprop);
  std::atomic<bool> finite = true;
  executor->Run(CeilDiv(layout.rows, rows_per_task), [&](int64_t task, int) {
    const int64_t end = std::min(layout.rows, (task + 1) * rows_per_task);
    for (int64_t run = task * rows_per_task * layout.groups; run < end * layout.groups; ++run) {
      if (!kernels.reduce[static_cast<int>(dtype)](sums + run * layout.padded_columns, layout.elements(), partials,
                                                   layout.columns, to + run * layout.columns * ElementSize(dtype))) {
        finite = false;
      }
    }
  });
  return finite;
}

// Runs the plan's tasks, each of which adds to its slice's partial sum, and then adds the slices. Whether all sums are
// finite.
template <typename Task, typename T>
bool SumTasks(const Problem& problem, const Plan& plan, const SumLayout& layout, int64_t depth_slices,
              const void* input, const void* out_backprop, void* filter_backprop, char* shared, char* workers,
              Executor* executor) {
  T* sums = reinterpret_cast<T*>(shared);
  executor->Run(plan.tasks, [&](int64_t task, int worker) {
    Task(problem, plan, input, out_backprop, sums, workers + worker * plan.worker_bytes).Run(task);
  });
  return ReducePartialSums(KernelsOf<T>(*plan.isa), problem.dtype, layout, sums, depth_slices, filter_backprop,
                           executor);
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_BLOCKING_H_
