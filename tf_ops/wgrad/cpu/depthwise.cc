// Depthwise convolutions and other thin groups. Vectors run along the output channels, across groups: X is spread so
// that lane f holds the channel that f's group reads, with zeros in the padding, and then each tap is one
// multiplication and addition for each vector of output pixels.
#include "tf_ops/wgrad/cpu/depthwise.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"

namespace wgrad {
namespace {

// Rows of X that one strip of output rows sees.
int64_t StripInputRows(const Problem& p, const DepthwisePlan& plan) {
  return (plan.strip_rows - 1) * p.stride_height + (p.filter_height - 1) * p.dilation_height + 1;
}

int64_t PaddedWidth(const Problem& p) {
  return (p.out_width - 1) * p.stride_width + (p.filter_width - 1) * p.dilation_width + 1;
}

struct WorkerBytes {
  int64_t x, dy, offsets, first, lanes;
  int64_t total() const { return x + dy + offsets + first + lanes; }
};

WorkerBytes WorkerBytesOf(const Problem& p, const DepthwisePlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  bytes.x = AlignedBytes(StripInputRows(p, plan) * PaddedWidth(p) * p.filter_channels * plan.column_block * sum_size);
  bytes.dy = plan.dy_in_place ? 0 : AlignedBytes(plan.strip_rows * p.out_width * plan.column_block * sum_size);
  bytes.offsets = AlignedBytes(plan.strip_rows * p.out_width * sizeof(int64_t));
  bytes.first = AlignedBytes(plan.column_block * sizeof(int64_t));
  bytes.lanes = AlignedBytes(plan.column_block * sum_size);
  return bytes;
}

template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.depthwise),
        kernels_(KernelsOf<T>(*plan.isa)),
        element_size_(ElementSize(problem.dtype)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        all_sums_(sums) {
    const WorkerBytes bytes = WorkerBytesOf(problem, plan_, sizeof(T));
    x_ = reinterpret_cast<T*>(scratch);
    dy_ = reinterpret_cast<T*>(scratch += bytes.x);
    offsets_ = reinterpret_cast<int64_t*>(scratch += bytes.dy);
    first_ = reinterpret_cast<int64_t*>(scratch += bytes.offsets);
    lanes_ = reinterpret_cast<LaneIndex<T>*>(scratch += bytes.first);
  }

  void Run(int64_t task) {
    const int64_t first_column = task % plan_.column_tasks * plan_.column_block;
    const int64_t depth_slice = task / plan_.column_tasks;
    columns_ = std::min(plan_.column_block, p_.out_channels - first_column);
    vectors_ = CeilDiv(columns_, kernels_.lanes);
    sums_ = all_sums_ + depth_slice * Rows() * plan_.padded_columns + first_column;
    for (int64_t row = 0; row < Rows(); ++row) {
      std::fill_n(sums_ + row * plan_.padded_columns, vectors_ * kernels_.lanes, T(0));
    }
    FindLanes(first_column);
    const int64_t end = std::min(plan_.strips, (depth_slice + 1) * plan_.strips_per_task);
    for (int64_t strip = depth_slice * plan_.strips_per_task; strip < end; ++strip) Strip(strip, first_column);
  }

 private:
  int64_t Rows() const { return p_.filter_height * p_.filter_width * p_.filter_channels; }

  // Where each vector of output channels finds its input channels. Lanes behind the last channel repeat it.
  void FindLanes(int64_t first_column) {
    const int64_t group_columns = p_.out_channels / p_.groups;
    for (int64_t lane = 0; lane < vectors_ * kernels_.lanes; ++lane) {
      const int64_t column = std::min(first_column + lane, p_.out_channels - 1);
      const int64_t channel = column / group_columns * p_.filter_channels;
      if (lane % kernels_.lanes == 0) first_[lane / kernels_.lanes] = channel;
      lanes_[lane] = static_cast<LaneIndex<T>>(channel - first_[lane / kernels_.lanes]);
    }
  }

  void Strip(int64_t strip, int64_t first_column) {
    const int64_t strips_per_image = CeilDiv(p_.out_height, plan_.strip_rows);
    const int64_t n = strip / strips_per_image;
    const int64_t oh = strip % strips_per_image * plan_.strip_rows;
    const int64_t rows = std::min(plan_.strip_rows, p_.out_height - oh);
    SpreadInput(n, oh * p_.stride_height - p_.pad_top,
                (rows - 1) * p_.stride_height + (p_.filter_height - 1) * p_.dilation_height + 1);

    const int64_t dy_offset = (n * p_.out_height + oh) * p_.out_width * p_.out_channels + first_column;
    const int64_t x_step = p_.filter_channels * vectors_ * kernels_.lanes;
    TapRegion region = {rows,
                        p_.out_width,
                        p_.stride_width * x_step,
                        p_.stride_height * PaddedWidth(p_) * x_step,
                        p_.out_channels,
                        p_.out_width * p_.out_channels};
    const T* dy = reinterpret_cast<const T*>(out_backprop_) + dy_offset;
    if (!plan_.dy_in_place) {
      for (int64_t i = 0; i < rows * p_.out_width; ++i) offsets_[i] = i * p_.out_channels;
      region.dy_step = vectors_ * kernels_.lanes;
      region.dy_row_step = p_.out_width * region.dy_step;
      kernels_.pack[static_cast<int>(p_.dtype)](out_backprop_ + dy_offset * element_size_, offsets_,
                                                rows * p_.out_width, columns_, region.dy_step, rows * p_.out_width, 0,
                                                dy_);
      dy = dy_;
    }
    for (int64_t row = 0; row < rows; row += plan_.run_rows) {
      region.rows = std::min(plan_.run_rows, rows - row);
      for (int64_t v = 0; v < vectors_; ++v) {
        Multiply(region, x_ + row * region.x_row_step + v * kernels_.lanes,
                 dy + row * region.dy_row_step + v * kernels_.lanes, sums_ + v * kernels_.lanes);
      }
    }
  }

  // Fills x_ with `rows` rows of X from row `ih` on, from -pad_left to PaddedWidth() - pad_left.
  void SpreadInput(int64_t n, int64_t ih, int64_t rows) {
    const int64_t pixel = p_.filter_channels * vectors_ * kernels_.lanes;
    const int64_t width = PaddedWidth(p_);
    const int64_t begin = std::min(p_.pad_left, width);
    const int64_t end = std::max(begin, std::min(width, p_.in_width + p_.pad_left));
    for (int64_t row = 0; row < rows; ++row, ++ih) {
      T* to = x_ + row * width * pixel;
      if (ih < 0 || ih >= p_.in_height) {
        std::fill_n(to, width * pixel, T(0));
        continue;
      }
      std::fill_n(to, begin * pixel, T(0));
      const int64_t offset = (n * p_.in_height + ih) * p_.in_width * p_.in_channels;
      kernels_.spread[static_cast<int>(p_.dtype)](input_ + offset * element_size_, InputElements(p_) - offset,
                                                  end - begin, p_.in_channels, p_.filter_channels, vectors_, first_,
                                                  lanes_, to + begin * pixel);
      std::fill_n(to + end * pixel, (width - end) * pixel, T(0));
    }
  }

  // One vector of output channels: near-equal shares of the taps in registers at a time.
  void Multiply(const TapRegion& region, const T* x, const T* dy, T* sums) {
    const int64_t taps = p_.filter_height * p_.filter_width;
    const int64_t block = vectors_ * kernels_.lanes;
    const int64_t pixel = p_.filter_channels * block;
    for (int64_t c = 0; c < p_.filter_channels; ++c) {
      int64_t shares = CeilDiv(taps, kMaxTaps);
      for (int64_t first = 0; first < taps; --shares) {
        const int64_t count = CeilDiv(taps - first, shares);
        const T* tap_x[kMaxTaps];
        T* tap_sums[kMaxTaps];
        for (int64_t t = 0; t < count; ++t) {
          const int64_t kh = (first + t) / p_.filter_width, kw = (first + t) % p_.filter_width;
          tap_x[t] = x + (kh * p_.dilation_height * PaddedWidth(p_) + kw * p_.dilation_width) * pixel + c * block;
          tap_sums[t] = sums + ((first + t) * p_.filter_channels + c) * plan_.padded_columns;
        }
        kernels_.multiply_taps[count](region, tap_x, dy, tap_sums);
        first += count;
      }
    }
  }

  const Problem& p_;
  const DepthwisePlan& plan_;
  const Kernels<T>& kernels_;
  const int64_t element_size_;
  const char* input_;
  const char* out_backprop_;
  T* all_sums_;
  T* x_;
  T* dy_;
  int64_t* offsets_;
  int64_t* first_;
  LaneIndex<T>* lanes_;
  int64_t columns_, vectors_;
  T* sums_;
};

template <typename T>
bool Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const DepthwisePlan& blocking = plan.depthwise;
  T* sums = reinterpret_cast<T*>(shared);
  executor->Run(plan.tasks, [&](int64_t task, int worker) {
    Task<T>(problem, plan, input, out_backprop, sums, workers + worker * plan.worker_bytes).Run(task);
  });
  const SumLayout layout = {FilterElements(problem) / problem.out_channels, 1, problem.out_channels,
                            blocking.padded_columns};
  ReducePartialSums(KernelsOf<T>(*plan.isa), problem.dtype, layout, sums, blocking.depth_slices, filter_backprop,
                    executor);
  return AllFinite(sums, blocking.depth_slices * layout.elements());
}

}  // namespace

void PlanDepthwise(const Problem& p, const Isa& isa, Plan* plan) {
  const bool is_double = p.dtype == DataType::kFloat64;
  const int64_t sum_size = is_double ? sizeof(double) : sizeof(float);
  const int64_t lanes = isa.vector_bytes / sum_size;
  DepthwisePlan& g = plan->depthwise;
  g.padded_columns = RoundUp(p.out_channels, lanes);
  g.dy_in_place = (p.dtype == DataType::kFloat32 || is_double) && p.out_channels % lanes == 0;
  // Whole cache lines of X and dY, 256 bytes in a run where one input channel feeds a lane.
  constexpr int64_t kRunBytes = 256, kLineBytes = 64;
  const int64_t run = std::max(kLineBytes, kRunBytes / p.filter_channels) / sum_size;
  g.column_block = std::min(RoundUp(std::max(run, lanes), lanes), g.padded_columns);
  g.column_tasks = CeilDiv(g.padded_columns, g.column_block);
  // A run of sums ends after 256 pixels, because the rounding error of a chain grows with its length.
  constexpr int64_t kMaxRun = 256;
  g.run_rows = std::clamp<int64_t>(kMaxRun / p.out_width, 1, p.out_height);
  // A strip stays in the second-level cache; the rows that neighbouring strips share are spread twice.
  constexpr int64_t kStripBytes = 128 << 10;
  const int64_t row_bytes = p.stride_height * PaddedWidth(p) * p.filter_channels * g.column_block * sum_size;
  g.strip_rows = std::min(RoundUp(std::max<int64_t>(1, kStripBytes / row_bytes), g.run_rows), p.out_height);
  g.strips = p.batch * CeilDiv(p.out_height, g.strip_rows);
  constexpr int64_t kMaxTasks = 64, kFlopsPerTask = 1 << 20;
  const int64_t wanted = std::clamp<int64_t>(static_cast<int64_t>(DirectFlops(p)) / kFlopsPerTask, 1, kMaxTasks);
  g.strips_per_task = CeilDiv(g.strips, std::min(g.strips, CeilDiv(wanted, g.column_tasks)));
  g.depth_slices = CeilDiv(g.strips, g.strips_per_task);
  plan->tasks = g.depth_slices * g.column_tasks;
  plan->shared_bytes = AlignedBytes(g.depth_slices * FilterElements(p) / p.out_channels * g.padded_columns * sum_size);
  plan->worker_bytes = WorkerBytesOf(p, g, sum_size).total();
}

bool RunDepthwise(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  return run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
