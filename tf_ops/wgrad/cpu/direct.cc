// The direct algorithm, an implicit GEMM: for each filter tap, the pixels of X that the tap sees and the pixels of dY
// they meet are packed into dense panels that stay in the caches, and the micro-kernel multiplies them. Pixels that the
// tap sees in the padding are left out of the panels.
#include "tf_ops/wgrad/cpu/direct.h"

#include <algorithm>
#include <cstring>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {
namespace {

// Rows of one packed slice of A: 16 where that divides the rows, so that a slice is whole cache lines of X, otherwise
// near-equal slices of at most 24, so that none is thin. 128 pixels of 24 floats are 12 KiB of the first-level cache,
// beside 12 KiB of B.
int64_t SliceRows(int64_t rows) {
  constexpr int64_t kLine = 16, kMost = 24;
  if (rows % kLine == 0) return kLine;
  return CeilDiv(rows, CeilDiv(rows, kMost));
}

// Odd, so that neighbouring panels start in different cache sets.
int64_t Pitch(const DirectPlan& plan) { return plan.depth_block | 1; }

struct WorkerBytes {
  int64_t a, b, b_rows, offsets;
};

template <typename T>
WorkerBytes WorkerBytesOf(const DirectPlan& plan) {
  return {AlignedBytes(Pitch(plan) * plan.row_block * sizeof(T)),
          AlignedBytes(Pitch(plan) * plan.column_block * sizeof(T)), AlignedBytes(plan.depth_block * sizeof(int32_t)),
          AlignedBytes(plan.depth_block * sizeof(int64_t))};
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
  int64_t panel_width;
  PackRows<T> pack;
};

template <typename T>
class Task {
 public:
  Task(const Direct<T>& direct, char* scratch) : d_(direct), p_(direct.p), plan_(direct.plan) {
    const WorkerBytes bytes = WorkerBytesOf<T>(plan_);
    pitch_ = Pitch(plan_);
    a_ = reinterpret_cast<T*>(scratch);
    b_ = reinterpret_cast<T*>(scratch += bytes.a);
    b_rows_ = reinterpret_cast<int32_t*>(scratch += bytes.b);
    offsets_ = reinterpret_cast<int64_t*>(scratch += bytes.b_rows);
  }

  void Run(int64_t task) {
    const int64_t row_task = task % plan_.row_tasks;
    const int64_t column_task = (task /= plan_.row_tasks) % plan_.column_tasks;
    const int64_t group = (task /= plan_.column_tasks) % p_.groups;
    const int64_t depth_slice = task / p_.groups;

    first_row_ = row_task * plan_.slices_per_task * plan_.slice_rows;
    end_row_ = std::min(plan_.rows, first_row_ + plan_.slices_per_task * plan_.slice_rows);
    const int64_t first_column = column_task * plan_.column_block;
    columns_ = std::min(plan_.columns - first_column, plan_.column_block);
    input_channel_ = group * p_.filter_channels;
    output_channel_ = group * plan_.columns + first_column;
    sums_ = d_.sums + depth_slice * plan_.taps * plan_.rows * d_.sum_columns +
            (plan_.in_place ? output_channel_ : group * plan_.padded_columns + first_column);

    const int64_t pixels = p_.batch * p_.out_height * p_.out_width;
    const int64_t slice_pixels = plan_.blocks_per_slice * plan_.depth_block;
    const int64_t begin = depth_slice * slice_pixels;
    const int64_t end = std::min(pixels, begin + slice_pixels);
    for (int64_t first = begin; first < end; first += plan_.depth_block) {
      const int64_t next = first + plan_.depth_block;
      PrefetchBlock(next, std::min(plan_.depth_block, end - next));
      Block(first, std::min(plan_.depth_block, end - first), first != begin);
    }
  }

 private:
  // Asks for the next block while this one is multiplied: dY, and X where a tap is all there is to hide its latency
  // (2_1x1a runs at 56 % of the FMA peak without).
  void PrefetchBlock(int64_t first_pixel, int64_t depth) {
    next_x_ = next_dy_ = Prefetcher();
    if (depth <= 0) return;
    next_dy_ = Prefetcher(d_.out_backprop + (first_pixel * p_.out_channels + output_channel_) * d_.element_size,
                          columns_ * d_.element_size, p_.out_channels * d_.element_size, depth);
    if (plan_.taps == 1 && FindPixels(0, first_pixel, depth) > 0) {
      next_x_ =
          Prefetcher(d_.input + (offsets_[0] + first_row_) * d_.element_size, (end_row_ - first_row_) * d_.element_size,
                     p_.stride_width * p_.in_channels * d_.element_size, depth);
    }
    const int64_t calls = plan_.taps * CeilDiv((end_row_ - first_row_) * columns_, 12 * d_.kernels.lanes);
    lines_per_tile_ = CeilDiv(next_x_.lines() + next_dy_.lines(), calls);
  }

  void Block(int64_t first_pixel, int64_t depth, bool accumulate) {
    PackB(first_pixel, depth);
    for (int64_t tap = 0; tap < plan_.taps; ++tap) {
      const int64_t seen = FindPixels(tap, first_pixel, depth);
      for (int64_t row = first_row_; row < end_row_; row += plan_.row_block) {
        const int64_t rows = std::min(plan_.row_block, end_row_ - row);
        d_.pack(d_.input + row * d_.element_size, offsets_, seen, rows, plan_.slice_rows, pitch_, a_);
        T* sums = sums_ + (tap * plan_.rows + row) * d_.sum_columns;
        for (int64_t i = 0; i < rows; i += plan_.slice_rows) {
          Multiply(a_ + i * pitch_, seen, std::min(plan_.slice_rows, rows - i), sums + i * d_.sum_columns, accumulate);
        }
      }
    }
  }

  void PackB(int64_t first_pixel, int64_t depth) {
    const char* from = d_.out_backprop + (first_pixel * p_.out_channels + output_channel_) * d_.element_size;
    for (int64_t i = 0; i < depth; ++i) offsets_[i] = i * p_.out_channels;
    d_.pack(from, offsets_, depth, columns_, d_.panel_width, pitch_, b_);
  }

  // Lists the block's pixels for which the tap lies inside X: their index in the block and the place in X.
  int64_t FindPixels(int64_t tap, int64_t first_pixel, int64_t depth) {
    const int64_t kh = plan_.fuse_columns ? tap : tap / p_.filter_width;
    const int64_t kw = plan_.fuse_columns ? 0 : tap % p_.filter_width;
    const int64_t h_offset = kh * p_.dilation_height - p_.pad_top;
    const int64_t w_offset = kw * p_.dilation_width - p_.pad_left;
    const Range inside = plan_.fuse_columns ? Range{0, p_.out_width}
                                            : OutputsInside(w_offset, p_.stride_width, p_.in_width, p_.out_width);
    const int64_t step = p_.stride_width * p_.in_channels;
    int64_t seen = 0;
    for (int64_t done = 0; done < depth;) {
      const int64_t pixel = first_pixel + done;
      const int64_t ow = pixel % p_.out_width, oh = pixel / p_.out_width % p_.out_height;
      const int64_t n = pixel / p_.out_width / p_.out_height;
      const int64_t ow_end = std::min(p_.out_width, ow + depth - done);
      const int64_t ih = oh * p_.stride_height + h_offset;
      if (ih >= 0 && ih < p_.in_height) {
        const int64_t begin = std::max(ow, inside.begin), end = std::min(ow_end, inside.end);
        int64_t offset = ((n * p_.in_height + ih) * p_.in_width + begin * p_.stride_width + w_offset) * p_.in_channels +
                         input_channel_;
        for (int64_t i = begin; i < end; ++i, offset += step) {
          b_rows_[seen] = static_cast<int32_t>(done + i - ow);
          offsets_[seen++] = offset;
        }
      }
      done += ow_end - ow;
    }
    return seen;
  }

  void Multiply(const T* a, int64_t seen, int64_t rows, T* sums, bool accumulate) {
    MultiplySlice(d_.kernels, seen, a, PanelStride(rows, plan_.slice_rows, d_.kernels.lanes), rows, b_, pitch_,
                  columns_, b_rows_, sums, d_.sum_columns, accumulate, [this] {
                    Prefetcher& next = next_x_.lines() > 0 ? next_x_ : next_dy_;
                    next.Next(lines_per_tile_);
                  });
  }

  const Direct<T>& d_;
  const Problem& p_;
  const DirectPlan& plan_;
  int64_t pitch_;
  T* a_;
  T* b_;
  int32_t* b_rows_;
  int64_t* offsets_;
  int64_t first_row_, end_row_, columns_, input_channel_, output_channel_;
  T* sums_;
  Prefetcher next_x_, next_dy_;
  int64_t lines_per_tile_ = 0;
};

template <typename T>
void Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const DirectPlan& blocking = plan.direct;
  const Kernels<T>& kernels = KernelsOf<T>(*plan.isa);
  const Direct<T> direct = {problem,
                            blocking,
                            kernels,
                            static_cast<const char*>(input),
                            static_cast<const char*>(out_backprop),
                            blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared),
                            blocking.in_place ? problem.out_channels : problem.groups * blocking.padded_columns,
                            ElementSize(problem.dtype),
                            kMaxVectors * kernels.lanes,
                            kernels.pack[static_cast<int>(problem.dtype)]};
  executor->Run(blocking.tasks,
                [&](int64_t task, int worker) { Task<T>(direct, workers + worker * plan.worker_bytes).Run(task); });
  if (!blocking.in_place) {
    const SumLayout layout = {blocking.taps * blocking.rows, problem.groups, blocking.columns, blocking.padded_columns};
    ReducePartialSums(kernels, problem.dtype, layout, direct.sums, blocking.depth_slices, filter_backprop, executor);
  }
}

}  // namespace

void PlanDirect(const Problem& p, const Isa& isa, bool fuse_columns, Plan* plan) {
  const bool is_double = p.dtype == DataType::kFloat64;
  const int64_t sum_size = is_double ? sizeof(double) : sizeof(float);
  const int64_t lanes = isa.vector_bytes / sum_size;
  DirectPlan& d = plan->direct;
  d.fuse_columns = fuse_columns;
  d.taps = fuse_columns ? p.filter_height : p.filter_height * p.filter_width;
  d.rows = fuse_columns ? p.filter_width * p.filter_channels : p.filter_channels;
  d.slice_rows = SliceRows(d.rows);
  // Packing reads each pixel's channels in one run of up to 1 KiB, which the prefetchers follow; slices of 64 bytes
  // each on their own ran 2_1x1a at half the speed.
  constexpr int64_t kRowBlock = 256;
  d.row_block = d.rows <= kRowBlock ? RoundUp(d.rows, d.slice_rows) : kRowBlock / d.slice_rows * d.slice_rows;
  d.columns = p.out_channels / p.groups;
  d.padded_columns = RoundUp(d.columns, lanes);
  // 128 pixels of 512 floats are 256 KiB: B's panels stay in a second-level cache of 512 KiB while A streams past.
  constexpr int64_t kDepth = 128;
  constexpr int64_t kPanelRowBytes = 2048;
  d.column_tasks = CeilDiv(d.padded_columns * sum_size, kPanelRowBytes);
  d.column_block = RoundUp(CeilDiv(d.columns, d.column_tasks), lanes);
  d.column_tasks = CeilDiv(d.columns, d.column_block);

  // As many tasks as keep each above 2 MFLOP (20 us), at most 64. Cutting along the pixels comes first, because each
  // task then reads its own part of X and dY, as far as the partial sums stay within 4 MiB.
  constexpr double kFlopsPerTask = 2e6;
  constexpr int64_t kMaxTasks = 64, kPartialBytes = 4 << 20;
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(DirectFlops(p) / kFlopsPerTask), 1, kMaxTasks);
  // Near-equal blocks: 7 x 7 maps at batch 8 make three of 131 pixels, not three of 128 and one of 8.
  const int64_t pixels = p.batch * p.out_height * p.out_width;
  d.depth_block = CeilDiv(pixels, std::max<int64_t>(1, (pixels + kDepth / 2) / kDepth));
  const int64_t blocks = CeilDiv(pixels, d.depth_block);
  const int64_t sum_bytes = d.taps * d.rows * p.groups * d.padded_columns * sum_size;
  const int64_t affordable = std::max<int64_t>(1, kPartialBytes / sum_bytes);
  const int64_t depth_slices = std::min({wanted, blocks, affordable});
  d.blocks_per_slice = CeilDiv(blocks, depth_slices);
  d.depth_slices = CeilDiv(blocks, d.blocks_per_slice);
  // A task packs its part of dY anew; 128 rows of work for each packed element keep that below 4 %.
  constexpr int64_t kMinRows = 128;
  const int64_t others = d.depth_slices * p.groups * d.column_tasks;
  const int64_t row_slices = CeilDiv(d.rows, d.slice_rows);
  const int64_t row_tasks =
      std::clamp<int64_t>(d.taps * d.rows / kMinRows, 1, std::min(CeilDiv(wanted, others), row_slices));
  d.slices_per_task = CeilDiv(row_slices, row_tasks);
  d.row_tasks = CeilDiv(row_slices, d.slices_per_task);
  d.tasks = d.depth_slices * p.groups * d.column_tasks * d.row_tasks;

  const bool same_type = p.dtype == DataType::kFloat32 || is_double;
  d.in_place = same_type && d.depth_slices == 1 && d.columns % lanes == 0;
  plan->shared_bytes = d.in_place ? 0 : d.depth_slices * sum_bytes;
  const WorkerBytes bytes = is_double ? WorkerBytesOf<double>(d) : WorkerBytesOf<float>(d);
  plan->worker_bytes = bytes.a + bytes.b + bytes.b_rows + bytes.offsets;
}

void RunDirect(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
               void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
