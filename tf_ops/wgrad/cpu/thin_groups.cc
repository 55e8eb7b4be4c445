// Groups too thin to fill a micro-kernel's tile. Vectors run along the output channels, across groups: strips of X and
// dY are laid out so that lane f of X holds the channel that f's group reads, with zeros in the padding, and then each
// tap is one multiplication and addition for each vector of output pixels.
#include "tf_ops/wgrad/cpu/thin_groups.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/strip.h"

namespace wgrad {
namespace {

int64_t OutputPitch(const Problem& p, const ThinGroupsPlan& plan) { return (plan.strip_rows * StripColumns(p)) | 1; }

struct WorkerBytes {
  int64_t x, dy, offsets, lanes, taps;
  int64_t total() const { return x + dy + offsets + lanes + taps; }
};

WorkerBytes WorkerBytesOf(const Problem& p, const ThinGroupsPlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  bytes.x = AlignedBytes(InputPitch(p, plan.strip_rows) * p.filter_channels * plan.column_block * sum_size);
  bytes.dy = AlignedBytes(OutputPitch(p, plan) * plan.column_block * sum_size);
  bytes.offsets = AlignedBytes(plan.strip_rows * StripColumns(p) * sizeof(int64_t));
  bytes.lanes = AlignedBytes(plan.column_block * sum_size);
  bytes.taps = AlignedBytes(Taps(p) * sizeof(int64_t));
  return bytes;
}

// A strip is held in panels of one vector of output channels: all its pixels of one panel, then those of the next.
template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.thin_groups),
        kernels_(KernelsOf<T>(*plan.isa)),
        pixel_(problem.filter_channels * kernels_.lanes),
        input_pitch_(InputPitch(problem, plan_.strip_rows)),
        output_pitch_(OutputPitch(problem, plan_)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        all_sums_(sums) {
    const WorkerBytes bytes = WorkerBytesOf(problem, plan_, sizeof(T));
    x_ = reinterpret_cast<T*>(scratch);
    dy_ = reinterpret_cast<T*>(scratch += bytes.x);
    offsets_ = reinterpret_cast<int64_t*>(scratch += bytes.dy);
    lanes_ = reinterpret_cast<LaneIndex<T>*>(scratch += bytes.offsets);
    taps_ = reinterpret_cast<int64_t*>(scratch += bytes.lanes);
  }

  void Run(int64_t task) {
    first_column_ = task % plan_.column_tasks * plan_.column_block;
    const int64_t depth_slice = task / plan_.column_tasks;
    columns_ = std::min(plan_.column_block, p_.out_channels - first_column_);
    sums_ = all_sums_ + depth_slice * Rows() * plan_.padded_columns + first_column_;
    for (int64_t row = 0; row < Rows(); ++row) {
      std::fill_n(sums_ + row * plan_.padded_columns, RoundUp(columns_, kernels_.lanes), T(0));
    }
    // Nothing is ever loaded into the columns in the padding.
    std::fill_n(x_, input_pitch_ * p_.filter_channels * RoundUp(columns_, kernels_.lanes), T(0));
    for (int64_t kh = 0; kh < p_.filter_height; ++kh) {
      for (int64_t kw = 0; kw < p_.filter_width; ++kw) {
        taps_[kh * p_.filter_width + kw] = (kh * p_.dilation_height * StripWidth(p_) + kw * p_.dilation_width) * pixel_;
      }
    }
    FindLanes();
    const int64_t end = std::min(plan_.strips, (depth_slice + 1) * plan_.strips_per_task);
    for (int64_t strip = depth_slice * plan_.strips_per_task; strip < end; ++strip) {
      RunStrip(Strip(p_, plan_.strip_rows, StripColumns(p_), strip));
    }
  }

 private:
  int64_t Rows() const { return Taps(p_) * p_.filter_channels; }

  void RunStrip(const Strip& strip) {
    ForEachInputRow(
        p_, strip, [this](int64_t offset, int64_t pixels, int64_t slot) { LoadRow(offset, pixels, slot); },
        [this](int64_t slot, int64_t pixels) { Clear(slot, pixels); });
    PackOutBackprop(strip.first_pixel(p_), strip.pixels());
    for (int64_t column = 0; column < columns_; column += kernels_.lanes) {
      for (int64_t row = 0; row < strip.rows; row += plan_.run_rows) {
        MultiplyRun(strip.columns, column, row, std::min(plan_.run_rows, strip.rows - row));
      }
    }
  }

  void LoadRow(int64_t offset, int64_t pixels, int64_t slot) {
    for (int64_t column = 0; column < columns_; column += kernels_.lanes) {
      SpreadPanel(column, offset, pixels, InputPanel(column) + slot * pixel_);
    }
  }

  void Clear(int64_t slot, int64_t pixels) {
    for (int64_t column = 0; column < columns_; column += kernels_.lanes) {
      std::fill_n(InputPanel(column) + slot * pixel_, pixels * pixel_, T(0));
    }
  }

  void PackOutBackprop(int64_t first_pixel, int64_t pixels) {
    for (int64_t i = 0; i < pixels; ++i) offsets_[i] = (first_pixel + i) * p_.out_channels + first_column_;
    kernels_.pack[static_cast<int>(p_.dtype)](out_backprop_, offsets_, pixels, columns_, kernels_.lanes, output_pitch_,
                                              0, dy_);
  }

  // The input channel of each lane of a panel, counted from the panel's first. Lanes behind the last repeat it.
  void FindLanes() {
    for (int64_t lane = 0; lane < RoundUp(columns_, kernels_.lanes); ++lane) {
      const int64_t panel = lane - lane % kernels_.lanes;
      const int64_t column = std::min(lane, p_.out_channels - 1 - first_column_);
      lanes_[lane] = static_cast<LaneIndex<T>>(InputChannel(column) - InputChannel(panel));
    }
  }

  void SpreadPanel(int64_t column, int64_t offset, int64_t pixels, T* to) {
    offset += InputChannel(column);
    kernels_.spread[static_cast<int>(p_.dtype)](input_ + offset * ElementSize(p_.dtype), InputElements(p_) - offset,
                                                pixels, p_.in_channels, p_.filter_channels, lanes_ + column, to);
  }

  // The first one that column `column` of the task reads.
  int64_t InputChannel(int64_t column) const {
    return (first_column_ + column) / (p_.out_channels / p_.groups) * p_.filter_channels;
  }

  // One vector of output channels and `rows` rows of the strip: near-equal shares of the taps in registers at a time.
  void MultiplyRun(int64_t strip_columns, int64_t column, int64_t row, int64_t rows) {
    const TapRegion region = {rows, strip_columns, p_.stride_height * StripWidth(p_) * pixel_};
    const T* dy = dy_ + column * output_pitch_ + row * strip_columns * kernels_.lanes;
    for (int64_t c = 0; c < p_.filter_channels; ++c) {
      const T* x = InputPanel(column) + row * region.x_row_step + c * kernels_.lanes;
      ForEachShare(Taps(p_), kMaxTaps, [&](int64_t first, int64_t count) {
        T* sums = sums_ + (first * p_.filter_channels + c) * plan_.padded_columns + column;
        kernels_.multiply_taps[count](region, x, p_.stride_width * pixel_, taps_ + first, dy,
                                      p_.filter_channels * plan_.padded_columns, sums);
      });
    }
  }

  T* InputPanel(int64_t column) const { return x_ + column * p_.filter_channels * input_pitch_; }

  const Problem& p_;
  const ThinGroupsPlan& plan_;
  const Kernels<T>& kernels_;
  const int64_t pixel_;  // elements of one pixel of a panel of X
  const int64_t input_pitch_, output_pitch_;
  const char* input_;
  const char* out_backprop_;
  T* all_sums_;
  T* x_;
  T* dy_;
  int64_t* offsets_;
  LaneIndex<T>* lanes_;
  int64_t* taps_;  // offset of each tap's first pixel
  int64_t first_column_, columns_;
  T* sums_;
};

}  // namespace

void PlanThinGroups(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  ThinGroupsPlan& g = plan->thin_groups;
  g.padded_columns = RoundUp(p.out_channels, lanes);
  // Long runs of each pixel's channels keep the memory busy: copying 14 MB of 144 channels from beyond the caches ran
  // at 2.4 GB/s in runs of 64 bytes, 15 in runs of 256, and 27 in runs of 576. Spreading multiplies the channels, and a
  // strip shall still have many rows.
  constexpr int64_t kSpreadRunBytes = 256;
  const int64_t run_bytes = std::max(kSpreadRunBytes / p.filter_channels, kCacheLine);
  g.column_tasks = CeilDiv(g.padded_columns * sum_size, run_bytes);
  g.column_block = RoundUp(CeilDiv(g.padded_columns, g.column_tasks), kCacheLine / sum_size);
  g.column_tasks = CeilDiv(g.padded_columns, g.column_block);
  // A run of sums ends after 256 pixels, because the rounding error of a chain grows with its length.
  constexpr int64_t kMaxRun = 256;
  g.run_rows = std::clamp<int64_t>(kMaxRun / p.out_width, 1, p.out_height);
  // A strip stays in the second-level cache; the rows that neighbouring strips share are loaded twice.
  constexpr int64_t kStripBytes = 128 << 10;
  const int64_t row_bytes = p.stride_height * StripWidth(p) * p.filter_channels * g.column_block * sum_size;
  const int64_t rows = CutsRows(p) ? 1 : std::max<int64_t>(1, kStripBytes / row_bytes);
  g.strip_rows = std::min(RoundUp(rows, g.run_rows), p.out_height);
  g.strips = Strips(p, g.strip_rows, StripColumns(p));
  const int64_t sum_bytes = FilterElements(p) / p.out_channels * g.padded_columns * sum_size;
  const int64_t chains = ChainSlices(g.strips * CeilDiv(g.strip_rows, g.run_rows), sum_bytes);
  const int64_t task_slices = DepthSlices(CeilDiv(WantedTasks(p), g.column_tasks), g.strips, sum_bytes);
  g.strips_per_task = CeilDiv(g.strips, std::max(task_slices, chains));
  g.depth_slices = CeilDiv(g.strips, g.strips_per_task);
  plan->tasks = g.depth_slices * g.column_tasks;
  plan->shared_bytes = AlignedBytes(g.depth_slices * sum_bytes);
  plan->worker_bytes = WorkerBytesOf(p, g, sum_size).total();
}

bool RunThinGroups(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                   void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const ThinGroupsPlan& blocking = plan.thin_groups;
  const SumLayout layout = {FilterElements(problem) / problem.out_channels, 1, problem.out_channels,
                            blocking.padded_columns};
  const auto run = problem.dtype == DataType::kFloat64 ? SumTasks<Task<double>, double> : SumTasks<Task<float>, float>;
  return run(problem, plan, layout, blocking.depth_slices, input, out_backprop, filter_backprop, shared, workers,
             executor);
}

}  // namespace wgrad
