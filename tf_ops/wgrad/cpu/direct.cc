// The direct algorithm, an implicit GEMM: for each filter tap, the pixels of X that the tap sees and the pixels of dY
// they meet are packed into dense panels that stay in the caches, and the micro-kernel multiplies them. Pixels that the
// tap sees in the padding are left out of the panels, unless bfloat16 is multiplied in pairs of pixels.
#include "tf_ops/wgrad/cpu/direct.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/tap_pixels.h"

namespace wgrad {
namespace {

// Rows of a panel for so many pixels.
int64_t PanelDepth(const DirectPlan& plan, int64_t pixels) { return plan.bf16_pairs ? CeilDiv(pixels, 2) : pixels; }

// Odd, so that neighbouring panels start in different cache sets.
int64_t Pitch(const DirectPlan& plan) { return PanelDepth(plan, plan.depth_block) | 1; }

// The parts of a worker's scratch memory.
struct WorkerBytes {
  int64_t a, b, indices, offsets;
  int64_t total() const { return a + b + indices + offsets; }
};

WorkerBytes WorkerBytesOf(const DirectPlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  bytes.a = plan.a_in_place ? 0 : AlignedBytes(Pitch(plan) * plan.row_block * sum_size);
  bytes.b = AlignedBytes(plan.group_block * Pitch(plan) * plan.column_block * sum_size);
  bytes.indices = AlignedBytes(plan.depth_block * sizeof(int32_t));
  bytes.offsets = AlignedBytes(plan.depth_block * sizeof(int64_t));
  return bytes;
}

// One call's state that does not change from task to task.
template <typename T>
struct Direct {
  const Problem& p;
  const DirectPlan& plan;
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
    const int64_t row_task = task % plan_.row_tasks;
    const int64_t column_task = (task /= plan_.row_tasks) % plan_.column_tasks;
    const int64_t group_task = (task /= plan_.column_tasks) % plan_.group_tasks;
    const int64_t depth_slice = task / plan_.group_tasks;

    first_row_ = row_task * plan_.slices_per_task * plan_.slice_rows;
    end_row_ = std::min(plan_.rows, first_row_ + plan_.slices_per_task * plan_.slice_rows);
    first_column_ = column_task * plan_.column_block;
    columns_ = std::min(plan_.columns - first_column_, plan_.column_block);
    first_group_ = group_task * plan_.group_block;
    end_group_ = std::min(p_.groups, first_group_ + plan_.group_block);
    slice_sums_ = d_.sums + depth_slice * plan_.taps * plan_.rows * d_.sum_columns;

    const int64_t pixels = p_.batch * p_.out_height * p_.out_width;
    const int64_t slice_pixels = plan_.blocks_per_slice * plan_.depth_block;
    const int64_t begin = depth_slice * slice_pixels;
    const int64_t end = std::min(pixels, begin + slice_pixels);
    for (int64_t first = begin; first < end; first += plan_.depth_block) {
      Block(first, std::min(plan_.depth_block, end - first), first != begin);
    }
  }

 private:
  void Block(int64_t first_pixel, int64_t depth, bool accumulate) {
    for (int64_t group = first_group_; group < end_group_; ++group) PackB(group, first_pixel, depth);
    for (int64_t tap = 0; tap < plan_.taps; ++tap) {
      const auto find = plan_.bf16_pairs ? FindAllPixels : FindTapPixels;
      find(p_, tap / p_.filter_width, tap % p_.filter_width, first_pixel, depth, &pixels_);
      for (int64_t group = first_group_; group < end_group_; ++group) {
        for (int64_t row = first_row_; row < end_row_; row += plan_.row_block) {
          MultiplyRows(group, tap, row, std::min(plan_.row_block, end_row_ - row), accumulate);
        }
      }
    }
  }

  void PackB(int64_t group, int64_t first_pixel, int64_t depth) {
    const char* from = d_.out_backprop + (first_pixel * p_.out_channels + OutputChannel(group)) * d_.element_size;
    for (int64_t i = 0; i < depth; ++i) pixels_.offsets[i] = i * p_.out_channels;
    d_.pack(from, pixels_.offsets, depth, columns_, kMaxVectors * d_.kernels.lanes, pitch_, 0, Panels(group));
  }

  void MultiplyRows(int64_t group, int64_t tap, int64_t row, int64_t rows, bool accumulate) {
    const char* from = d_.input + (InputChannel(group) + row) * d_.element_size;
    T* sums = slice_sums_ + (tap * plan_.rows + row) * d_.sum_columns + first_column_ +
              group * (plan_.in_place ? plan_.columns : plan_.padded_columns);
    if (!plan_.a_in_place) d_.pack(from, pixels_.offsets, pixels_.count, rows, plan_.slice_rows, pitch_, 0, a_);
    for (int64_t i = 0; i < rows; i += plan_.slice_rows) {
      const int64_t slice_rows = std::min(plan_.slice_rows, rows - i);
      const T* a = plan_.a_in_place ? reinterpret_cast<const T*>(from) + pixels_.offsets[0] + i : a_ + i * pitch_;
      const int64_t a_stride =
          plan_.a_in_place ? p_.in_channels : PanelStride(slice_rows, plan_.slice_rows, d_.kernels.lanes);
      MultiplySlice(d_.kernels, kIndexedB, PanelDepth(plan_, pixels_.count), a, a_stride, slice_rows, Panels(group),
                    pitch_, columns_, pixels_.indices, sums + i * d_.sum_columns, d_.sum_columns, accumulate);
    }
  }

  int64_t InputChannel(int64_t group) const { return group * p_.filter_channels; }
  int64_t OutputChannel(int64_t group) const { return group * plan_.columns + first_column_; }
  T* Panels(int64_t group) const { return b_ + (group - first_group_) * pitch_ * plan_.column_block; }

  const Direct<T>& d_;
  const Problem& p_;
  const DirectPlan& plan_;
  const int64_t pitch_;
  T* a_;
  T* b_;
  TapPixels pixels_;
  int64_t first_row_, end_row_, first_column_, columns_, first_group_, end_group_;
  T* slice_sums_;
};

template <typename T>
const Kernels<T>& KernelsFor(const Plan& plan) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (plan.direct.bf16_pairs) return plan.isa->bf16_pairs;
  }
  return KernelsOf<T>(*plan.isa);
}

template <typename T>
bool Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const DirectPlan& blocking = plan.direct;
  const Kernels<T>& kernels = KernelsFor<T>(plan);
  const Direct<T> direct = {problem,
                            blocking,
                            kernels,
                            static_cast<const char*>(input),
                            static_cast<const char*>(out_backprop),
                            blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared),
                            blocking.in_place ? problem.out_channels : problem.groups * blocking.padded_columns,
                            ElementSize(problem.dtype),
                            kernels.pack[static_cast<int>(problem.dtype)]};
  executor->Run(plan.tasks,
                [&](int64_t task, int worker) { Task<T>(direct, workers + worker * plan.worker_bytes).Run(task); });
  if (blocking.in_place) return true;
  const SumLayout layout = {blocking.taps * blocking.rows, problem.groups, blocking.columns, blocking.padded_columns};
  ReducePartialSums(kernels, problem.dtype, layout, direct.sums, blocking.depth_slices, filter_backprop, executor);
  // An Inf or NaN of dY may have met a zero of the padding.
  return !blocking.bf16_pairs || AllFinite(direct.sums, blocking.depth_slices * layout.elements());
}

}  // namespace

void PlanDirect(const Problem& p, const Isa& isa, bool bf16_pairs, Plan* plan) {
  const bool same_type = SumsInItsType(p.dtype);
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  DirectPlan& d = plan->direct;
  d.bf16_pairs = bf16_pairs;
  d.taps = p.filter_height * p.filter_width;
  d.rows = p.filter_channels;
  d.columns = p.out_channels / p.groups;
  d.padded_columns = RoundUp(d.columns, lanes);

  d.slice_rows = SliceRows(d.rows);
  // Packing reads each pixel's channels in one run of up to 1 KiB, which the prefetchers follow; slices of 64 bytes
  // each on their own ran 2_1x1a at 0.6 of the speed.
  constexpr int64_t kRowBlock = 256;
  d.row_block = d.rows <= kRowBlock ? RoundUp(d.rows, d.slice_rows) : kRowBlock / d.slice_rows * d.slice_rows;
  // With few columns a packed element is used too seldom to pay for packing: 2_1x1c gains 8 % in place, 3_1x1a loses 4
  // %.
  constexpr int64_t kFewColumns = 64;
  const bool pointwise = p.filter_height == 1 && p.filter_width == 1 && p.groups == 1 && p.stride_height == 1 &&
                         p.stride_width == 1 && p.in_height == p.out_height && p.in_width == p.out_width;
  d.a_in_place = pointwise && same_type && d.columns <= kFewColumns;

  // 128 pixels of 512 floats are 256 KiB: B's panels stay in a second-level cache of 512 KiB while A streams past.
  constexpr int64_t kDepth = 128, kPanelRowBytes = 2048;
  d.column_tasks = CeilDiv(d.padded_columns * sum_size, kPanelRowBytes);
  d.column_block = RoundUp(CeilDiv(d.columns, d.column_tasks), lanes);
  d.column_tasks = CeilDiv(d.columns, d.column_block);
  // Thin groups share a task, so that finding the pixels of a tap is paid once for all of them: as many as fill two
  // cache lines of X, which all taps then find in the first-level cache (eight times that costs ResNeXt's last stage 18
  // %).
  constexpr int64_t kGroupBytes = 128;
  d.group_block = std::clamp<int64_t>(kGroupBytes / (d.rows * sum_size), 1, p.groups);
  d.group_tasks = CeilDiv(p.groups, d.group_block);
  // Near-equal blocks: 7 x 7 maps at batch 8 make three of 131 pixels, not three of 128 and one of 8.
  const int64_t pixels = p.batch * p.out_height * p.out_width;
  const int64_t depth = bf16_pairs ? 2 * kDepth : kDepth;
  d.depth_block = CeilDiv(pixels, std::max<int64_t>(1, (pixels + depth / 2) / depth));
  const int64_t blocks = CeilDiv(pixels, d.depth_block);

  const int64_t sum_bytes = d.taps * d.rows * p.groups * d.padded_columns * sum_size;
  const int64_t depth_slices = DepthSlices(WantedTasks(p), blocks, sum_bytes);
  d.blocks_per_slice = CeilDiv(blocks, depth_slices);
  d.depth_slices = CeilDiv(blocks, d.blocks_per_slice);
  // A task packs its part of dY anew; 128 rows of work for each packed element keep that below 4 %.
  constexpr int64_t kMinRows = 128;
  const int64_t others = d.depth_slices * d.group_tasks * d.column_tasks;
  const int64_t row_slices = CeilDiv(d.rows, d.slice_rows);
  const int64_t row_tasks =
      std::clamp<int64_t>(d.taps * d.rows / kMinRows, 1, std::min(CeilDiv(WantedTasks(p), others), row_slices));
  d.slices_per_task = CeilDiv(row_slices, row_tasks);
  d.row_tasks = CeilDiv(row_slices, d.slices_per_task);
  plan->tasks = d.depth_slices * d.group_tasks * d.column_tasks * d.row_tasks;

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
