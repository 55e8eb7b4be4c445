// Depthwise convolutions: one channel and one filter to a group, so that channel c of dW is made of channel c of X and
// of dY. Vectors run along the channels of both where they lie, along one output row after the other. Each kernel keeps
// to the pixels that a column of the filter sees in the image, so that no tap ever meets the padding.
#include "tf_ops/wgrad/cpu/depthwise.h"

#include <algorithm>
#include <numeric>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/strip.h"

namespace wgrad {
namespace {

// The rounding error of a chain of sums grows with its length: so many pixels are summed in registers, and so many of
// these sums in memory before they are added to the others.
constexpr int64_t kMaxPixels = 256, kMaxChain = 256;

constexpr int64_t kCacheBytes = 256 << 10;  // of the second level, for what is read at a time

// Near-equal parts of a row, of which that cache holds what the output pixels see: 224 x 224 pixels of 96 channels and
// 512 x 512 of 96 with stride 2 take 60 % of the time that whole rows take. Signals, which are a single row, are cut
// into many tasks.
int64_t DepthwiseStripColumns(const Problem& p) {
  constexpr int64_t kMost = 320, kLeast = 32;
  const int64_t pixels_per_column = std::min(p.filter_height, p.in_height) * p.stride_width + 1;
  const int64_t fitting = kCacheBytes / (pixels_per_column * p.out_channels * ElementSize(p.dtype));
  return NearEqualShare(p.out_width, std::clamp(fitting, kLeast, kMost));
}

// Lines that stay in a first-level cache of 64 sets and 8 ways, of pixels that lie pixel_bytes apart: with 256 bytes
// they share a quarter of the sets. Half of the cache is left to what comes next.
int64_t CacheLines(int64_t pixel_bytes) {
  constexpr int64_t kSets = 64, kWays = 8;
  const int64_t sets = pixel_bytes % kCacheLine == 0 ? kSets / std::gcd(kSets, pixel_bytes / kCacheLine) : kSets;
  return kWays * std::min(sets, kSets / 2);
}

// Neighbouring output pixels of one window. Each vector of a cache line's channels reads the lines of these pixels and
// of those that they see through up to three rows of the filter: the line's other vectors find them in the first-level
// cache, by which 112 x 112 pixels of 32 channels gain 30 to 60 %. A row that is cut into shorter ones than five times
// the filter has more beginnings than that gains (28 x 28 pixels of 256 channels lose a fifth).
int64_t WindowPixels(const Problem& p, int64_t strip_columns) {
  constexpr int64_t kFewFilters = 5;
  const int64_t lines_per_pixel = std::min<int64_t>(p.filter_height, 3) * p.stride_width + 1;
  const int64_t most = CacheLines(p.out_channels * ElementSize(p.dtype)) / lines_per_pixel;
  const int64_t pixels = most < kFewFilters * p.filter_width ? kMaxPixels : most;
  return NearEqualShare(strip_columns, pixels);
}

// Whole output rows of one window, for so many lines as most numbers of channels leave in the first-level cache: 7 x 7
// pixels gain 25 % over single rows, and with stride 2, 14 x 14 outputs by single rows a fifth over three.
int64_t WindowRows(const Problem& p, int64_t window_pixels) {
  if (window_pixels < p.out_width) return 1;
  constexpr int64_t kLines = 140;
  const int64_t columns_seen = std::min(p.in_width, (p.out_width - 1) * p.stride_width + p.filter_width);
  const int64_t more_rows_seen = p.filter_height - p.stride_height;
  const int64_t lines_per_row = p.stride_height * columns_seen + p.out_width;
  return std::clamp<int64_t>((kLines - more_rows_seen * columns_seen) / lines_per_row, 1, p.out_height);
}

// Most additions to memory of one strip: two runs of pixels that follow each other have more than kMaxPixels.
int64_t MostAdditions(const DepthwisePlan& plan) {
  if (plan.windows) return CeilDiv(plan.strip_columns, plan.window_pixels);
  return 2 * (plan.strip_columns / (kMaxPixels + 1)) + 1;
}

// Whether a task's additions are cut into chains, each of which has sums of its own.
bool InChains(const DepthwisePlan& plan) { return plan.strips_per_task * MostAdditions(plan) > kMaxChain; }

// Most columns of one task.
int64_t MaxColumns(const Problem& p, const DepthwisePlan& plan) {
  return p.out_channels - (plan.column_tasks - 1) * plan.column_block;
}

struct WorkerBytes {
  int64_t segments, chain_sums;
  int64_t total() const { return segments + chain_sums; }
};

WorkerBytes WorkerBytesOf(const Problem& p, const DepthwisePlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  // The columns of the filter that see X change at most twice for each of them.
  const int64_t segments = std::min(plan.strip_columns, plan.strip_columns / kMaxPixels + 2 * p.filter_width + 2);
  bytes.segments = AlignedBytes(segments * static_cast<int64_t>(sizeof(Segment)));
  bytes.chain_sums = InChains(plan) ? AlignedBytes(Taps(p) * MaxColumns(p, plan) * sum_size) : 0;
  return bytes;
}

template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.depthwise),
        kernels_(KernelsOf<T>(*plan.isa)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        all_sums_(sums),
        segments_(reinterpret_cast<Segment*>(scratch)),
        in_chains_(InChains(plan_)),
        chain_sums_(reinterpret_cast<T*>(scratch + WorkerBytesOf(problem, plan_, sizeof(T)).segments)) {}

  void Run(int64_t task) {
    const int64_t column_task = task % plan_.column_tasks;
    const int64_t depth_slice = task / plan_.column_tasks;
    first_column_ = column_task * plan_.column_block;
    columns_ = column_task + 1 < plan_.column_tasks ? plan_.column_block : p_.out_channels - first_column_;
    slice_sums_ = all_sums_ + depth_slice * Taps(p_) * p_.out_channels + first_column_;
    Clear(slice_sums_, p_.out_channels);
    sums_ = slice_sums_;
    sum_stride_ = p_.out_channels;
    if (in_chains_) {
      sums_ = chain_sums_;
      sum_stride_ = columns_;
      Clear(chain_sums_, columns_);
    }
    const int64_t first = depth_slice * plan_.strips_per_task;
    const int64_t end = std::min(Strips(p_, 1, plan_.strip_columns), first + plan_.strips_per_task);
    for (int64_t strip = first; strip < end;) {
      if (!plan_.windows && (strip == first || CutsRows())) FindSegments(StripAt(strip));
      strip += MultiplyStrips(strip, end);
    }
    if (in_chains_) EndChain();
  }

 private:
  bool CutsRows() const { return plan_.strip_columns < p_.out_width; }
  Strip StripAt(int64_t index) const { return Strip(p_, 1, plan_.strip_columns, index); }

  void FindSegments(const Strip& strip) {
    segment_count_ = 0;
    // The pixels that see X through all columns of the filter.
    const int64_t reach = p_.filter_width > 1 ? (p_.filter_width - 1) * p_.dilation_width : 0;
    const Range inside = OutputsInside(-p_.pad_left, p_.stride_width, p_.in_width - reach, p_.out_width);
    const int64_t end = strip.ow + strip.columns;
    for (int64_t ow = strip.ow; ow < end;) {
      const Range columns =
          OutputsInside(ow * p_.stride_width - p_.pad_left, p_.dilation_width, p_.in_width, p_.filter_width);
      const bool is_inside = inside.begin <= ow && ow < inside.end;
      const int64_t pixels = is_inside ? std::min({inside.end - ow, end - ow, kMaxPixels}) : 1;
      Segment* last = segment_count_ > 0 ? &segments_[segment_count_ - 1] : nullptr;
      if (last != nullptr && last->ow + last->pixels == ow && last->pixels + pixels <= kMaxPixels &&
          last->columns_begin == columns.begin && last->columns_end == columns.end) {
        last->pixels += pixels;
      } else if (columns.begin < columns.end) {
        segments_[segment_count_++] = {ow, pixels, columns.begin, columns.end};
      }
      ow += pixels;
    }
  }

  // The sums of a tap are sum_stride after those of the tap before.
  void Clear(T* sums, int64_t sum_stride) const {
    for (int64_t tap = 0; tap < Taps(p_); ++tap) std::fill_n(sums + tap * sum_stride, columns_, T(0));
  }

  void CountAddition() {
    if (in_chains_ && ++additions_ == kMaxChain) EndChain();
  }

  void EndChain() {
    for (int64_t tap = 0; tap < Taps(p_); ++tap) {
      for (int64_t c = 0; c < columns_; ++c) slice_sums_[tap * p_.out_channels + c] += chain_sums_[tap * columns_ + c];
    }
    Clear(chain_sums_, columns_);
    additions_ = 0;
  }

  // The rows of the filter through which an output row sees X.
  Range RowsSeen(int64_t oh) const {
    return OutputsInside(oh * p_.stride_height - p_.pad_top, p_.dilation_height, p_.in_height, p_.filter_height);
  }

  // Multiplies as many strips of one row each as share a window, and returns their number.
  int64_t MultiplyStrips(int64_t first, int64_t end) {
    const Strip strip = StripAt(first);
    const Range seen = RowsSeen(strip.oh);
    int64_t count = 1;
    if (plan_.windows) {
      const int64_t most = std::min({end - first, p_.out_height - strip.oh, plan_.window_rows});
      while (count < most && RowsSeen(strip.oh + count) == seen) ++count;
    }
    if (seen.begin == seen.end) return count;
    ChannelRows rows;
    rows.channels = columns_;
    rows.rows = seen.size();
    rows.x_step = p_.stride_width * p_.in_channels;
    rows.dy_step = p_.out_channels;
    // A single row or column has no dilation, whatever the attribute says: it may be 2^31 - 1.
    rows.row_step = p_.filter_height > 1 ? p_.dilation_height * p_.in_width * p_.in_channels : 0;
    rows.column_step = p_.filter_width > 1 ? p_.dilation_width * p_.in_channels : p_.in_channels;
    rows.sum_row_stride = p_.filter_width * sum_stride_;
    rows.sum_stride = sum_stride_;
    rows.x_ahead = AheadPixels(p_.stride_height * p_.in_width, p_.stride_width) * p_.in_channels;
    rows.dy_ahead = AheadPixels(p_.out_width, 1) * p_.out_channels;
    const int64_t ih = strip.oh * p_.stride_height - p_.pad_top + seen.begin * p_.dilation_height;
    const int64_t x_pixel = (strip.n * p_.in_height + ih) * p_.in_width - p_.pad_left;
    const int64_t dy_pixel = (strip.n * p_.out_height + strip.oh) * p_.out_width;
    if (plan_.windows) {
      MultiplyWindows(rows, strip, count, x_pixel, dy_pixel, seen.begin);
    } else {
      MultiplyRuns(rows, x_pixel, dy_pixel, seen.begin);
    }
    return count;
  }

  // From what is multiplied now to what is next: the row below, or the neighbour in a row that is cut.
  int64_t AheadPixels(int64_t row_pixels, int64_t stride) const {
    if (!CutsRows()) return row_pixels;
    return (plan_.windows ? plan_.window_pixels : plan_.strip_columns) * stride;
  }

  void MultiplyWindows(const ChannelRows& rows, const Strip& strip, int64_t output_rows, int64_t x_pixel,
                       int64_t dy_pixel, int64_t kh) {
    const WindowKernel<T> kernel =
        kernels_.multiply_window[static_cast<int>(p_.dtype)][p_.stride_width][p_.filter_width];
    const int64_t end = strip.ow + strip.columns;
    for (int64_t ow = strip.ow; ow < end; ow += plan_.window_pixels) {
      const int64_t first_column = ow * p_.stride_width - p_.pad_left;
      const int64_t inside_begin = std::max<int64_t>(0, -first_column);
      const PixelWindow window = {rows,         plan_.whole_rows,
                                  output_rows,  std::min(plan_.window_pixels, end - ow),
                                  inside_begin, std::max(inside_begin, p_.in_width - first_column)};
      kernel(window, Input(x_pixel + ow * p_.stride_width), OutBackprop(dy_pixel + ow),
             sums_ + kh * rows.sum_row_stride);
      CountAddition();
    }
  }

  void MultiplyRuns(const ChannelRows& rows, int64_t x_pixel, int64_t dy_pixel, int64_t kh) {
    PixelRun run = {rows, segments_, 0, 0, CeilDiv(p_.stride_height, p_.dilation_height)};
    const Segment* const end = segments_ + segment_count_;
    for (; run.segments < end; run.segments += run.segment_count) {
      run.segment_count = 1;
      int64_t pixels = run.segments->pixels;
      while (run.segments + run.segment_count < end &&
             (pixels += run.segments[run.segment_count].pixels) <= kMaxPixels) {
        ++run.segment_count;
      }
      MultiplyRun(&run, x_pixel, dy_pixel, kh);
      CountAddition();
    }
  }

  // Near-equal shares of the columns of the filter in registers at a time.
  void MultiplyRun(PixelRun* run, int64_t x_pixel, int64_t dy_pixel, int64_t kh) {
    ForEachShare(p_.filter_width, kMaxRunColumns, [&](int64_t kw, int64_t count) {
      run->first_column = kw;
      kernels_.multiply_run[static_cast<int>(p_.dtype)][count](*run, Input(x_pixel + kw * p_.dilation_width),
                                                               OutBackprop(dy_pixel),
                                                               sums_ + kh * run->sum_row_stride + kw * sum_stride_);
    });
  }

  // The task's first channel of a pixel.
  const char* Input(int64_t pixel) const {
    return input_ + (pixel * p_.in_channels + first_column_) * ElementSize(p_.dtype);
  }
  const char* OutBackprop(int64_t pixel) const {
    return out_backprop_ + (pixel * p_.out_channels + first_column_) * ElementSize(p_.dtype);
  }

  const Problem& p_;
  const DepthwisePlan& plan_;
  const Kernels<T>& kernels_;
  const char* input_;
  const char* out_backprop_;
  T* all_sums_;
  Segment* segments_;
  int64_t segment_count_;
  T* slice_sums_;
  const bool in_chains_;
  T* const chain_sums_;
  int64_t additions_ = 0;  // of the chain
  int64_t first_column_, columns_;
  T* sums_;
  int64_t sum_stride_;
};

}  // namespace

void PlanDepthwise(const Problem& p, Plan* plan) {
  const int64_t sum_size = SumSize(p.dtype);
  DepthwisePlan& d = plan->depthwise;
  d.strip_columns = DepthwiseStripColumns(p);
  d.windows = p.stride_width <= kMaxWindowStride && HasWindowKernel(p.filter_width) && p.dilation_width == 1;
  if (d.windows) {
    d.window_pixels = WindowPixels(p, d.strip_columns);
    d.window_rows = WindowRows(p, d.window_pixels);
  }
  const int64_t element_size = ElementSize(p.dtype);
  // Memory is read fastest in its own order, ahead of the processor into the second-level cache, which must hold what a
  // window reads: 112 x 112 pixels gain 25 to 60 % over runs of channels, 14 x 14 pixels 10 %, and 7 x 7 pixels of 960
  // channels, a window of 376 KiB, would lose 30 %. Less than 2 MiB come from a cache in any order (6 to 14 % lost).
  constexpr int64_t kFewBytes = 2 << 20;
  const int64_t columns_seen = std::min(p.in_width, (d.strip_columns - 1) * p.stride_width + p.filter_width);
  const int64_t seen_rows = std::min(p.in_height, (d.window_rows - 1) * p.stride_height + p.filter_height);
  const int64_t pixels_read = seen_rows * columns_seen + d.window_rows * d.strip_columns;
  d.whole_rows = d.windows && pixels_read * p.out_channels * element_size <= kCacheBytes &&
                 (InputElements(p) + OutputElements(p)) * element_size > kFewBytes;
  // Otherwise runs of 1 KiB of each pixel's channels keep the memory busy, and tasks that share out the channels need
  // no partial sums. Of large images the rows that one output row reads would not stay in the second-level cache.
  constexpr int64_t kRunBytes = 1024, kShortRunBytes = 256;
  const int64_t pixels = std::min(p.filter_height, p.in_height) * columns_seen + d.strip_columns;
  const int64_t run_bytes = std::clamp(kCacheBytes / pixels, kShortRunBytes, kRunBytes);
  const int64_t runs = d.whole_rows ? 1 : CeilDiv(p.out_channels * element_size, run_bytes);
  d.column_block = RoundUp(CeilDiv(p.out_channels, runs), kCacheLine / element_size);
  d.column_tasks = std::max<int64_t>(1, p.out_channels / d.column_block);
  const int64_t strips = Strips(p, 1, d.strip_columns);
  const int64_t sum_bytes = FilterElements(p) * sum_size;
  // 20 to 60 us. A second thread that starts 30 us late then finds something to do: twice as large ones cost layers of
  // 28 x 28 pixels and fewer 6 to 12 % on two threads.
  constexpr double kFlopsPerTask = 1e6;
  const int64_t tasks_per_column = CeilDiv(WantedTasks(p, kFlopsPerTask), d.column_tasks);
  d.strips_per_task = CeilDiv(strips, DepthSlices(tasks_per_column, strips, sum_bytes));
  d.depth_slices = CeilDiv(strips, d.strips_per_task);
  plan->tasks = d.depth_slices * d.column_tasks;
  plan->shared_bytes = AlignedBytes(d.depth_slices * sum_bytes);
  plan->worker_bytes = WorkerBytesOf(p, d, sum_size).total();
}

void RunDepthwise(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const DepthwisePlan& blocking = plan.depthwise;
  const SumLayout layout = {Taps(problem), 1, problem.out_channels, problem.out_channels};
  const auto run = problem.dtype == DataType::kFloat64 ? SumTasks<Task<double>, double> : SumTasks<Task<float>, float>;
  run(problem, plan, layout, blocking.depth_slices, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
