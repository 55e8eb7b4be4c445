// The direct algorithm, an implicit GEMM: for each filter tap, the pixels of X that the tap sees and the pixels of dY
// they meet are packed into dense panels that stay in the caches, and the micro-kernel multiplies them. X is packed a
// few slices at a time, and the next ones are asked for meanwhile. Pixels that the tap sees in the padding are left out
// of the panels, unless bfloat16 is multiplied in pairs of pixels.
#include "tf_ops/wgrad/cpu/direct.h"

#include <algorithm>
#include <optional>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/padding.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/tap_pixels.h"

namespace wgrad {
namespace {

// Rows of a panel for so many pixels.
int64_t PanelDepth(const DirectPlan& plan, int64_t pixels) { return CeilDiv(pixels, PixelsPerRow(plan.bf16_pairs)); }

// Odd, so that neighbouring panels start in different cache sets.
int64_t Pitch(const DirectPlan& plan) { return PanelDepth(plan, plan.depth_block) | 1; }

// The parts of a worker's scratch memory.
struct WorkerBytes {
  int64_t a, b, indices, offsets;
  int64_t total() const { return a + b + indices + offsets; }
};

WorkerBytes WorkerBytesOf(const DirectPlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  bytes.a = plan.a_in_place ? 0 : AlignedBytes(Pitch(plan) * plan.pack_rows * sum_size);
  bytes.b = AlignedBytes(plan.group_block * Pitch(plan) * plan.column_block * sum_size);
  bytes.indices = AlignedBytes(plan.depth_block * sizeof(int32_t));
  bytes.offsets = AlignedBytes(plan.depth_block * sizeof(int64_t));
  return bytes;
}

// How tasks share out dW. Unlike the plan it may depend on the number of workers, because in what order a sum is added
// does not depend on it.
struct TaskGrid {
  int64_t rows, columns;  // of one task
  int64_t row_tasks, column_tasks, group_tasks, depth_slices;
  int64_t tasks() const { return row_tasks * column_tasks * group_tasks * depth_slices; }
};

// About as many tasks as wanted. Those that split the columns each pack X anew, those that split the rows dY, which
// they wait for: rows are split last. On two threads 128 columns were 5 to 10 % slower than 256.
TaskGrid MakeTaskGrid(const DirectPlan& d, int64_t lanes, int64_t wanted_tasks) {
  constexpr int64_t kMinColumns = 256, kMinRows = 64;
  TaskGrid grid;
  grid.group_tasks = d.group_tasks;
  grid.depth_slices = d.depth_slices;
  const int64_t output_tasks = CeilDiv(wanted_tasks, d.group_tasks * d.depth_slices);
  const int64_t column_tasks =
      std::max(CeilDiv(d.columns, d.column_block), std::min(output_tasks, d.columns / kMinColumns));
  grid.columns = RoundUp(CeilDiv(d.columns, column_tasks), lanes);
  grid.column_tasks = CeilDiv(d.columns, grid.columns);
  const int64_t slices = CeilDiv(d.rows, d.slice_rows);
  const int64_t row_tasks =
      std::clamp<int64_t>(d.taps * d.rows / kMinRows, 1, std::min(slices, CeilDiv(output_tasks, grid.column_tasks)));
  grid.rows = CeilDiv(slices, row_tasks) * d.slice_rows;
  grid.row_tasks = CeilDiv(d.rows, grid.rows);
  return grid;
}

// One call's state that does not change from task to task.
template <typename T>
struct Direct {
  const Problem& p;
  const DirectPlan& plan;
  const TaskGrid grid;
  const Kernels<T>& kernels;
  const char* input;
  const char* out_backprop;
  T* sums;  // dW itself or the partial sums
  int64_t sum_columns;
  int64_t element_size;
  PackRows<T> pack;
};

template <typename T>
class Task {
 public:
  Task(const Direct<T>& direct, char* scratch)
      : d_(direct), p_(direct.p), plan_(direct.plan), pitch_(Pitch(direct.plan)) {
    const WorkerBytes bytes = WorkerBytesOf(plan_, sizeof(T));
    a_ = reinterpret_cast<T*>(scratch);
    b_ = reinterpret_cast<T*>(scratch += bytes.a);
    pixels_.indices = reinterpret_cast<int32_t*>(scratch += bytes.b);
    pixels_.offsets = reinterpret_cast<int64_t*>(scratch += bytes.indices);
  }

  void Run(int64_t task) {
    const TaskGrid& grid = d_.grid;
    const int64_t row_task = task % grid.row_tasks;
    const int64_t column_task = (task /= grid.row_tasks) % grid.column_tasks;
    const int64_t group_task = (task /= grid.column_tasks) % grid.group_tasks;
    const int64_t depth_slice = task / grid.group_tasks;

    first_row_ = row_task * grid.rows;
    end_row_ = std::min(plan_.rows, first_row_ + grid.rows);
    first_column_ = column_task * grid.columns;
    columns_ = std::min(plan_.columns - first_column_, grid.columns);
    first_group_ = group_task * plan_.group_block;
    end_group_ = std::min(p_.groups, first_group_ + plan_.group_block);
    slice_sums_ = d_.sums + depth_slice * plan_.taps * plan_.rows * d_.sum_columns;

    const int64_t slice_pixels = plan_.blocks_per_slice * plan_.depth_block;
    const int64_t begin = depth_slice * slice_pixels;
    end_pixel_ = std::min(p_.batch * p_.out_height * p_.out_width, begin + slice_pixels);
    for (int64_t first = begin; first < end_pixel_; first += plan_.depth_block) Block(first, first != begin);
  }

 private:
  void Block(int64_t first_pixel, bool accumulate) {
    depth_ = std::min(plan_.depth_block, end_pixel_ - first_pixel);
    for (int64_t group = first_group_; group < end_group_; ++group) PackB(group, first_pixel);
    next_pixel_ = first_pixel + plan_.depth_block;
    next_block_ = NextBlock();
    next_output_ = NextOutput();
    for (int64_t tap = 0; tap < plan_.taps; ++tap) {
      const auto find = plan_.bf16_pairs ? FindAllPixels : FindTapPixels;
      find(p_, tap / p_.filter_width, tap % p_.filter_width, first_pixel, depth_, &pixels_);
      for (int64_t group = first_group_; group < end_group_; ++group) {
        for (int64_t row = first_row_; row < end_row_; row += plan_.pack_rows) {
          MultiplyRows(group, tap, row, std::min(plan_.pack_rows, end_row_ - row), accumulate);
        }
      }
    }
  }

  void PackB(int64_t group, int64_t first_pixel) {
    for (int64_t i = 0; i < depth_; ++i) pixels_.offsets[i] = i * p_.out_channels;
    d_.pack(OutBackprop(group, first_pixel), pixels_.offsets, depth_, columns_, kMaxVectors * d_.kernels.lanes, pitch_,
            0, Panels(group));
  }

  void MultiplyRows(int64_t group, int64_t tap, int64_t first_row, int64_t rows, bool accumulate) {
    const char* from = Input(group, first_row);
    if (!plan_.a_in_place) d_.pack(from, pixels_.offsets, pixels_.count, rows, plan_.slice_rows, pitch_, 0, a_);
    Prefetch next_rows = NextRows(group, first_row, rows);
    std::optional<Lookahead> lookahead;
    const auto before_tile = [&] {
      if (next_block_) lookahead = next_block_->OfNextTile();
      next_rows.Some();
      next_output_.Some();
    };
    const Indexed indexed = pixels_.count == depth_ ? kNotIndexed : kIndexedB;
    for (int64_t row = 0; row < rows; row += plan_.slice_rows) {
      const int64_t slice_rows = std::min(plan_.slice_rows, rows - row);
      const T* a = a_ + row * pitch_;
      int64_t a_stride = PanelStride(slice_rows, plan_.slice_rows, d_.kernels.lanes);
      if (plan_.a_in_place) {
        a = reinterpret_cast<const T*>(from) + pixels_.offsets[0] + row;
        a_stride = p_.in_channels;
      }
      T* sums = slice_sums_ + (tap * plan_.rows + first_row + row) * d_.sum_columns + first_column_ +
                group * (plan_.in_place ? plan_.columns : plan_.padded_columns);
      MultiplySlice(d_.kernels, indexed, {0, PanelDepth(plan_, pixels_.count)}, a, a_stride, slice_rows,
                    PanelsOfB<T>::Packed(Panels(group), pitch_), columns_, pixels_.indices,
                    {sums, d_.sum_columns, accumulate, plan_.sums_in_cache}, lookahead, before_tile);
    }
  }

  // All of the next block, where a cache holds it beside this one, in the order of the memory, which wakes the
  // processor's own prefetcher.
  std::optional<SpreadOverTiles> NextBlock() const {
    const bool whole_pixels = end_row_ - first_row_ == plan_.rows && columns_ == plan_.columns;
    if (!plan_.blocks_in_cache || !whole_pixels || next_pixel_ >= end_pixel_) return std::nullopt;
    const int64_t bytes = std::min(plan_.depth_block, end_pixel_ - next_pixel_) * d_.element_size;
    return SpreadOverTiles({d_.input + next_pixel_ * p_.in_channels * d_.element_size, bytes * p_.in_channels},
                           {OutBackprop(0, next_pixel_), bytes * p_.out_channels}, SliceTiles(plan_.rows),
                           PanelDepth(plan_, depth_) / d_.kernels.lookahead_pixels);
  }

  // The rows that are packed after these, but for those of another tap, which sees most of the same pixels.
  Prefetch NextRows(int64_t group, int64_t row, int64_t rows) const {
    if (next_block_) return Prefetch();
    const char* next;
    int64_t next_rows = std::min(plan_.pack_rows, end_row_ - first_row_);
    if (row + rows < end_row_) {
      next = Input(group, row + rows);
      next_rows = std::min(plan_.pack_rows, end_row_ - row - rows);
    } else if (group + 1 < end_group_) {
      next = Input(group + 1, first_row_);
    } else if (plan_.pointwise && next_pixel_ < end_pixel_) {
      next = Input(first_group_, first_row_) + plan_.depth_block * p_.in_channels * d_.element_size;
    } else {
      return Prefetch();
    }
    return Prefetch(next, pixels_.offsets, d_.element_size, pixels_.count, next_rows * d_.element_size,
                    SliceTiles(rows));
  }

  // The pixels of dY that are packed after these, where few rows of X pay for the wait: 2_1x1a, 2_1x1b and 3_1x1b gain
  // 3 to 8 %, 4_1x1b and 4_shortcut 2 to 3 %; with more rows the others lose up to 3 %.
  Prefetch NextOutput() const {
    constexpr int64_t kFewRows = 128;
    const int64_t rows = end_row_ - first_row_, groups = end_group_ - first_group_;
    const bool few_rows = plan_.taps * rows <= std::max(kFewRows, plan_.columns / 2);
    if (next_block_ || next_pixel_ >= end_pixel_ || !few_rows) return Prefetch();
    const int64_t run = (groups - 1) * plan_.columns + columns_;
    return Prefetch(OutBackprop(first_group_, next_pixel_), p_.out_channels * d_.element_size,
                    std::min(plan_.depth_block, end_pixel_ - next_pixel_), run * d_.element_size,
                    plan_.taps * groups * SliceTiles(rows));
  }

  // Tiles of so many rows, slice by slice.
  int64_t SliceTiles(int64_t rows) const {
    return rows / plan_.slice_rows * Tiles(d_.kernels, plan_.slice_rows, columns_) +
           Tiles(d_.kernels, rows % plan_.slice_rows, columns_);
  }

  // One channel of X, at the pixel that offsets count from.
  const char* Input(int64_t group, int64_t row) const {
    return d_.input + (group * p_.filter_channels + row) * d_.element_size;
  }
  const char* OutBackprop(int64_t group, int64_t pixel) const {
    return d_.out_backprop + (pixel * p_.out_channels + group * plan_.columns + first_column_) * d_.element_size;
  }
  T* Panels(int64_t group) const { return b_ + (group - first_group_) * pitch_ * plan_.column_block; }

  const Direct<T>& d_;
  const Problem& p_;
  const DirectPlan& plan_;
  const int64_t pitch_;
  T* a_;
  T* b_;
  TapPixels pixels_;
  int64_t end_pixel_, next_pixel_;
  int64_t depth_;  // pixels of the block
  std::optional<SpreadOverTiles> next_block_;
  Prefetch next_output_;
  int64_t first_row_, end_row_, first_column_, columns_, first_group_, end_group_;
  T* slice_sums_;
};

template <typename T>
bool Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const DirectPlan& blocking = plan.direct;
  const Kernels<T>& kernels = KernelsOf<T>(*plan.isa, blocking.bf16_pairs);
  // Several tasks for each worker even out what else the processors do; a single one packs everything once.
  constexpr int64_t kTasksPerWorker = 4;
  const bool alone = executor->workers() == 1;
  const int64_t wanted_tasks = alone ? 1 : std::min(plan.tasks, kTasksPerWorker * executor->workers());
  const Direct<T> direct = {problem,
                            blocking,
                            MakeTaskGrid(blocking, kernels.lanes, wanted_tasks),
                            kernels,
                            static_cast<const char*>(input),
                            static_cast<const char*>(out_backprop),
                            blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared),
                            blocking.in_place ? problem.out_channels : problem.groups * blocking.padded_columns,
                            ElementSize(problem.dtype),
                            kernels.pack[static_cast<int>(problem.dtype)]};
  executor->Run(direct.grid.tasks(),
                [&](int64_t task, int worker) { Task<T>(direct, workers + worker * plan.worker_bytes).Run(task); });
  if (blocking.in_place) return true;
  const SumLayout layout = {blocking.taps * blocking.rows, problem.groups, blocking.columns, blocking.padded_columns};
  const bool finite =
      ReducePartialSums(kernels, problem.dtype, layout, direct.sums, blocking.depth_slices, filter_backprop, executor);
  // An Inf or NaN of dY may have met a zero of the padding.
  return finite || !blocking.bf16_pairs;
}

}  // namespace

bool IsPointwise(const Problem& p) {
  return p.filter_height == 1 && p.filter_width == 1 && p.groups == 1 && p.stride_height == 1 && p.stride_width == 1 &&
         p.in_height == p.out_height && p.in_width == p.out_width;
}

bool MultipliesPairs(const Problem& p, const Isa& isa) {
  return HasPairs(p.dtype, isa) && 2 * PixelTaps(p) > AllPixelTaps(p);
}

void PlanDirect(const Problem& p, const Isa& isa, bool bf16_pairs, Plan* plan) {
  const bool same_type = SumsInItsType(p.dtype);
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  DirectPlan& d = plan->direct;
  d.bf16_pairs = bf16_pairs;
  d.taps = Taps(p);
  d.rows = p.filter_channels;
  d.columns = p.out_channels / p.groups;
  d.padded_columns = RoundUp(d.columns, lanes);

  d.slice_rows = SliceRows(d.rows);
  // Longer runs of X at a time: two slices gain 1 to 3 % over one, four another 1 to 2 % in float64.
  constexpr int64_t kPackSlices = 4;
  d.pack_rows = std::min(kPackSlices * d.slice_rows, RoundUp(d.rows, d.slice_rows));
  d.pointwise = IsPointwise(p);
  // With few columns a packed element is used too seldom to pay for packing: 2_1x1c gains 8 % in place, 3_1x1a loses 4
  // %.
  constexpr int64_t kFewColumns = 64;
  d.a_in_place = d.pointwise && same_type && d.columns <= kFewColumns;

  // 128 pixels of 512 floats are 256 KiB: B's panels stay in a second-level cache of 512 KiB while A streams past. With
  // 1 MiB 192 pixels, which write dW less often, gain 1.5 %, 256 no more. Pairs gain nothing.
  constexpr int64_t kPanelRowBytes = 2048, kLeastDepth = 128, kMostDepth = 192;
  d.column_block = RoundUp(CeilDiv(d.columns, CeilDiv(d.padded_columns * sum_size, kPanelRowBytes)), lanes);
  // Near-equal blocks: 7 x 7 maps at batch 8 make three of 131 pixels, not three of 128 and one of 8.
  const int64_t pixels = p.batch * p.out_height * p.out_width;
  const int64_t depth =
      bf16_pairs ? 2 * kLeastDepth : std::clamp(SecondLevelBytes() / 2 / kPanelRowBytes, kLeastDepth, kMostDepth);
  // One image of 14 x 14 is one block, so that dW is written and never read: 4_1x1a and 4_1x1b gain 5 to 19 %.
  constexpr int64_t kOneBlock = 200;
  d.depth_block = pixels <= kOneBlock ? pixels : CeilDiv(pixels, (pixels + depth / 2) / depth);
  // Thin groups share a task, so that finding the pixels of a tap is paid once for all of them: as many as fill two
  // cache lines of X, which all taps then find in the first-level cache (eight times that costs ResNeXt's last stage 18
  // %).
  constexpr int64_t kGroupBytes = 128, kPanelBytes = 4 << 20;
  const int64_t group_panel_bytes = Pitch(d) * d.column_block * sum_size;
  d.group_block =
      std::clamp<int64_t>(std::min(kGroupBytes / (d.rows * sum_size), kPanelBytes / group_panel_bytes), 1, p.groups);
  d.group_tasks = CeilDiv(p.groups, d.group_block);
  const int64_t blocks = CeilDiv(pixels, d.depth_block);

  const int64_t sum_bytes = d.taps * d.rows * p.groups * d.padded_columns * sum_size;
  // What B's panels leave of the second-level cache. Without asking for the tiles of larger sums ResNet-50's last two
  // stages lose up to 8 % (float64: 11 %), with asking for those of smaller ones the first up to 2 %.
  constexpr int64_t kCacheBytes = 256 << 10;
  d.sums_in_cache = sum_bytes <= kCacheBytes;
  // bfloat16 gains 6 to 20 %, half 1 to 7.
  const int64_t block_bytes = d.depth_block * (p.in_channels + p.out_channels) * ElementSize(p.dtype);
  d.blocks_in_cache = d.pointwise && block_bytes <= MostBlockBytes();
  // Partial sums only for those tasks that dW itself does not offer: they cost memory, 1074 page faults and a fifth of
  // the time of 4_1x1a where 4 MiB were mapped anew for each call.
  d.depth_slices = 1;
  const int64_t wanted_tasks = WantedTasks(p);
  const int64_t output_tasks = MakeTaskGrid(d, lanes, wanted_tasks).tasks();
  // At least two blocks each, so that the second can be asked for: 2_1x1b of one image gains 4 to 15 %.
  const int64_t task_slices = DepthSlices(CeilDiv(wanted_tasks, output_tasks), CeilDiv(blocks, 2), sum_bytes);
  constexpr int64_t kMaxChain = 512;  // reaches an error of 6e-7 in float32, 40 % of the bound
  const int64_t chains = ChainSlices(blocks, sum_bytes, kMaxChain);
  d.blocks_per_slice = CeilDiv(blocks, std::max(task_slices, chains));
  d.depth_slices = CeilDiv(blocks, d.blocks_per_slice);
  plan->tasks = MakeTaskGrid(d, lanes, wanted_tasks).tasks();

  d.in_place = same_type && d.depth_slices == 1 && d.columns % lanes == 0;
  plan->shared_bytes = d.in_place ? 0 : AlignedBytes(d.depth_slices * sum_bytes);
  plan->worker_bytes = WorkerBytesOf(d, sum_size).total();
}

bool RunDirect(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
               void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  return run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
