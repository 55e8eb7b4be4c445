// X and dY multiplied where they lie, strip by strip: for each tap, the output pixels that see the inside of X are
// added up in registers. With wide vectors a group's filters fill one or more, the last one in part, which each channel
// is broadcast to; filters of several groups share a vector with the channels that one vector of X holds. A strip is
// multiplied while what the next one adds is asked for in the order of the memory: copying pixels of 2 KiB group by
// group took a third of the time, because the lines of a group share few of a cache's sets. Strips of the 16-bit types
// are staged first, once for all taps; pairs of bfloat16 are the same pixel of two images, so that no tap parts them.
#include "tf_ops/wgrad/cpu/direct_in_place.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/padding.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/stage.h"
#include "tf_ops/wgrad/cpu/strip.h"

namespace wgrad {
namespace {

// The problem whose images are pairs of the given one's.
Problem Paired(const Problem& p) {
  Problem paired = p;
  paired.batch = CeilDiv(p.batch, 2);
  return paired;
}

// Of X, that a strip sees in each of its images.
int64_t MostRows(const Problem& p, int64_t strip_rows) { return std::min(p.in_height, StripInputRows(p, strip_rows)); }
int64_t MostColumns(const Problem& p) { return std::min(p.in_width, StripWidth(p)); }

struct WorkerBytes {
  int64_t channels, rows, columns, x, dy;
  int64_t total() const { return channels + rows + columns + x + dy; }
};

WorkerBytes WorkerBytesOf(const Problem& p, const DirectInPlacePlan& plan, int64_t sum_size) {
  WorkerBytes bytes;
  bytes.channels = plan.shared_vectors ? AlignedBytes(p.out_channels * sum_size) : 0;
  bytes.rows = AlignedBytes(p.filter_height * sizeof(Range));
  bytes.columns = AlignedBytes(p.filter_width * sizeof(Range));
  bytes.x = bytes.dy = 0;
  if (!plan.staged) return bytes;
  const int64_t rows = plan.strip_images * MostRows(p, plan.strip_rows);
  bytes.x = AlignedBytes(rows * MostColumns(p) * p.in_channels * sum_size);
  bytes.dy = AlignedBytes(plan.strip_images * plan.strip_rows * StripColumns(p) * p.out_channels * sum_size);
  return bytes;
}

// The first input channel of the group that has an output channel.
int64_t InputChannel(const Problem& p, int64_t column) {
  return column / (p.out_channels / p.groups) * p.filter_channels;
}

// Where the vector of X that has all channels of `lanes` output channels begins, within the pixel.
int64_t SharedChannel(const Problem& p, int64_t column, int64_t lanes) {
  return std::min(InputChannel(p, column), p.in_channels - lanes);
}

// Calls visit(row, rows, vector, vectors) for each tile of one bundle and tap.
template <typename T, typename Visit>
void ForEachTile(const Problem& p, const DirectInPlacePlan& plan, const Kernels<T>& kernels, const Visit& visit) {
  if (plan.shared_vectors) return visit(0, p.filter_channels, 0, 1);
  ForEachShare(CeilDiv(plan.columns, kernels.lanes), kMaxGroupVectors, [&](int64_t vector, int64_t vectors) {
    ForEachShare(p.filter_channels, kernels.max_rows[vectors],
                 [&](int64_t row, int64_t rows) { visit(row, rows, vector, vectors); });
  });
}

template <typename T>
int64_t BundleTiles(const Problem& p, const DirectInPlacePlan& plan, const Kernels<T>& kernels) {
  int64_t tiles = 0;
  ForEachTile(p, plan, kernels, [&](auto...) { ++tiles; });
  return tiles;
}

// X or dY, or the part of it that a strip's stage holds, from its pixel (n, row, column) on.
struct PixelView {
  const char* first;
  int64_t n, row, column;
  int64_t image_step, row_step, pixel_step;  // in elements of element_size bytes
  int64_t element_size;

  PixelView(const void* first, int64_t n, Range rows, Range columns, int64_t channels, int64_t element_size)
      : first(static_cast<const char*>(first)),
        n(n),
        row(rows.begin),
        column(columns.begin),
        image_step(rows.size() * columns.size() * channels),
        row_step(columns.size() * channels),
        pixel_step(channels),
        element_size(element_size) {}

  const char* At(int64_t image, int64_t h, int64_t w, int64_t channel) const {
    const int64_t element = (image - n) * image_step + (h - row) * row_step + (w - column) * pixel_step + channel;
    return first + element * element_size;
  }
};

// Taps that follow each other, bundle by bundle: a bundle is one group, or as many as fill a vector, or a part of the
// only one.
template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const Range& bundle_taps, const void* input, const void* out_backprop,
       T* all_sums, char* scratch)
      : images_(problem.batch),
        p_(plan.direct_in_place.bf16_pairs ? Paired(problem) : problem),
        plan_(plan.direct_in_place),
        kernels_(KernelsOf<T>(*plan.isa, plan_.bf16_pairs)),
        stage_(kernels_, problem.dtype, plan_.bf16_pairs),
        bundle_taps_(bundle_taps),
        bundles_{bundle_taps.begin / Taps(problem), CeilDiv(bundle_taps.end, Taps(problem))},
        element_size_(ElementSize(problem.dtype)),
        input_(input, 0, {0, problem.in_height}, {0, problem.in_width}, problem.in_channels, element_size_),
        out_backprop_(out_backprop, 0, {0, problem.out_height}, {0, problem.out_width}, problem.out_channels,
                      element_size_),
        x_(input_),
        dy_(out_backprop_),
        all_sums_(all_sums) {
    const WorkerBytes bytes = WorkerBytesOf(problem, plan_, sizeof(T));
    first_channels_ = reinterpret_cast<LaneIndex<T>*>(scratch);
    rows_inside_ = reinterpret_cast<Range*>(scratch += bytes.channels);
    columns_inside_ = reinterpret_cast<Range*>(scratch += bytes.rows);
    x_stage_ = reinterpret_cast<T*>(scratch += bytes.columns);
    dy_stage_ = reinterpret_cast<T*>(scratch += bytes.x);
  }

  void Run(int64_t depth_slice) {
    sums_ = all_sums_ + depth_slice * FilterElements(p_);
    if (plan_.shared_vectors) FindChannels();
    for (int64_t kh = 0; kh < p_.filter_height; ++kh) {
      rows_inside_[kh] =
          OutputsInside(kh * p_.dilation_height - p_.pad_top, p_.stride_height, p_.in_height, p_.out_height);
    }
    for (int64_t kw = 0; kw < p_.filter_width; ++kw) {
      columns_inside_[kw] =
          OutputsInside(kw * p_.dilation_width - p_.pad_left, p_.stride_width, p_.in_width, p_.out_width);
    }
    const int64_t begin = depth_slice * plan_.strips / plan_.depth_slices;
    const int64_t end = (depth_slice + 1) * plan_.strips / plan_.depth_slices;
    for (int64_t i = begin; i < end; ++i) {
      Strip strip(p_, plan_.strip_rows, StripColumns(p_), i);
      strip.n *= plan_.strip_images;  // counts strips of all images until now
      RunStrip(strip, std::min(plan_.strip_images, p_.batch - strip.n), i > begin);
    }
  }

 private:
  void FindChannels() {
    for (int64_t column = bundles_.begin * plan_.columns; column < bundles_.end * plan_.columns; ++column) {
      const int64_t vector = column - column % plan_.columns;
      first_channels_[column] =
          static_cast<LaneIndex<T>>(InputChannel(p_, column) - SharedChannel(p_, vector, kernels_.lanes));
    }
  }

  void RunStrip(const Strip& strip, int64_t images, bool accumulate) {
    AskForNext(strip, images);
    if (plan_.staged) StageStrip(strip, images);
    for (int64_t i = bundle_taps_.begin; i < bundle_taps_.end; ++i) {
      const int64_t tap = i % Taps(p_);
      MultiplyTap(strip, images, i / Taps(p_), tap / p_.filter_width, tap % p_.filter_width, accumulate);
    }
  }

  void StageStrip(const Strip& strip, int64_t images) {
    const int64_t ih = strip.oh * p_.stride_height - p_.pad_top, iw = strip.ow * p_.stride_width - p_.pad_left;
    const Range rows = Common({ih, ih + StripInputRows(p_, strip.rows)}, {0, p_.in_height});
    const Range columns = Common({iw, iw + StripWidth(p_)}, {0, p_.in_width});
    const Range out_rows = OutputRows(strip), out_columns = OutputColumns(strip);
    x_ = PixelView(x_stage_, strip.n, rows, columns, p_.in_channels, sizeof(T));
    dy_ = PixelView(dy_stage_, strip.n, out_rows, out_columns, p_.out_channels, sizeof(T));
    for (int64_t image = 0; image < images; ++image) {
      StageImage(input_, strip.n + image, rows, columns, x_stage_ + image * x_.image_step);
      StageImage(out_backprop_, strip.n + image, out_rows, out_columns, dy_stage_ + image * dy_.image_step);
    }
  }

  // Whole rows are one run. An image without a partner meets zeros, as X does as dY.
  void StageImage(const PixelView& from, int64_t image, const Range& rows, const Range& columns, T* to) const {
    const int64_t first_image = plan_.bf16_pairs ? 2 * image : image;
    const int64_t first = first_image * from.image_step + columns.begin * from.pixel_step;
    const int64_t second = first_image + 1 < images_ ? first + from.image_step : -1;
    const int64_t elements = columns.size() * from.pixel_step;
    const int64_t runs = elements == from.row_step ? 1 : rows.size();
    const int64_t run = elements * rows.size() / std::max<int64_t>(1, runs);
    for (int64_t i = 0; i < runs; ++i) {
      const int64_t row = (rows.begin + i) * from.row_step;
      stage_.Copy(from.first, first + row, second < 0 ? second : second + row, run, to + i * run);
    }
  }

  void MultiplyTap(const Strip& strip, int64_t images, int64_t bundle, int64_t kh, int64_t kw, bool accumulate) {
    const Range rows = RowsInside(strip, kh), columns = ColumnsInside(strip, kw);
    const bool empty = rows.size() == 0 || columns.size() == 0;
    if (empty && accumulate) return;
    const PixelGrid grid = {images,
                            rows.size(),
                            columns.size(),
                            x_.image_step,
                            p_.stride_height * x_.row_step,
                            p_.stride_width * x_.pixel_step,
                            dy_.image_step,
                            dy_.row_step,
                            dy_.pixel_step};
    const int64_t column = bundle * plan_.columns;
    T* sums = sums_ + (kh * p_.filter_width + kw) * p_.filter_channels * p_.out_channels + column;
    const int64_t input_channel =
        plan_.shared_vectors ? SharedChannel(p_, column, kernels_.lanes) : InputChannel(p_, column);
    const int64_t ih = rows.begin * p_.stride_height + kh * p_.dilation_height - p_.pad_top;
    const int64_t iw = columns.begin * p_.stride_width + kw * p_.dilation_width - p_.pad_left;
    const char* x = empty ? x_.first : x_.At(strip.n, ih, iw, input_channel);
    const char* dy = empty ? dy_.first : dy_.At(strip.n, rows.begin, columns.begin, column);
    ForEachTile(p_, plan_, kernels_, [&](int64_t row, int64_t tile_rows, int64_t vector, int64_t vectors) {
      const int64_t first_column = vector * kernels_.lanes, tile_columns = plan_.columns - first_column;
      T* tile = sums + row * p_.out_channels + first_column;
      PrefetchToWrite(reinterpret_cast<const char*>(tile), p_.out_channels * sizeof(T), tile_rows,
                      std::min(tile_columns, vectors * kernels_.lanes) * sizeof(T));
      KernelFor(tile_rows, vectors)(grid, x + row * x_.element_size, dy + first_column * dy_.element_size,
                                    plan_.shared_vectors ? first_channels_ + column : nullptr, tile, p_.out_channels,
                                    tile_columns, accumulate, &next_strip_);
    });
  }

  GridKernel<T> KernelFor(int64_t rows, int64_t vectors) const {
    return plan_.shared_vectors ? kernels_.several_groups[static_cast<int>(p_.dtype)][rows]
                                : kernels_.one_group[vectors][rows];
  }

  // What the next strip adds is asked for while this one is multiplied.
  void AskForNext(const Strip& strip, int64_t images) {
    const int64_t asks = Asks(strip, images);
    const int64_t image = p_.in_height * p_.in_width;
    const Range next_images = {(strip.n + images) * image, (strip.n + 2 * images) * image};
    const Range input = images > 1 ? next_images : NewInputPixels(p_, strip);
    const int64_t pixels = images * strip.pixels(), output = strip.first_pixel(p_) + pixels;
    if (plan_.staged) {
      next_strip_.streams[0] = NextRuns(input_, input, asks);
      next_strip_.streams[1] = NextRuns(out_backprop_, {output, output + pixels}, asks);
      return;
    }
    const int64_t first_column = bundles_.begin * plan_.columns, columns = bundles_.end * plan_.columns - first_column;
    const int64_t channel = InputChannel(p_, first_column);
    const int64_t channels = InputChannel(p_, first_column + columns - 1) + p_.filter_channels - channel;
    next_strip_.streams[0] =
        SpreadRunsEvenly(input_.first + (input.begin * p_.in_channels + channel) * element_size_,
                         p_.in_channels * element_size_, input.size(), channels * element_size_, asks);
    next_strip_.streams[1] =
        SpreadRunsEvenly(out_backprop_.first + (output * p_.out_channels + first_column) * element_size_,
                         p_.out_channels * element_size_, pixels, columns * element_size_, asks);
  }

  // Whole pixels, counted as if there were no partners.
  RunLookahead::Stream NextRuns(const PixelView& tensor, const Range& pixels, int64_t asks) const {
    const int64_t pixel_bytes = tensor.pixel_step * element_size_, image = tensor.image_step / tensor.pixel_step;
    const bool both = plan_.bf16_pairs && pixels.size() < image;
    const int64_t first = plan_.bf16_pairs ? pixels.begin + pixels.begin / image * image : pixels.begin;
    const int64_t count = plan_.bf16_pairs && !both ? 2 * pixels.size() : pixels.size();
    return SpreadRunsEvenly(tensor.first + first * pixel_bytes, image * pixel_bytes, both ? 2 : 1, count * pixel_bytes,
                            asks);
  }

  // How often the kernels ask while they multiply a strip.
  int64_t Asks(const Strip& strip, int64_t images) const {
    int64_t rows = 0;
    for (int64_t kh = 0; kh < p_.filter_height; ++kh) rows += RowsInside(strip, kh).size();
    int64_t asks = 0;
    ForEachTile(p_, plan_, kernels_, [&](int64_t, int64_t tile_rows, int64_t, int64_t vectors) {
      const int pixels = PixelsPerAsk(static_cast<int>(tile_rows * vectors));
      for (int64_t kw = 0; kw < p_.filter_width; ++kw) asks += rows * (ColumnsInside(strip, kw).size() / pixels);
    });
    return bundle_taps_.size() * images * asks / Taps(p_);
  }

  Range OutputRows(const Strip& strip) const { return {strip.oh, strip.oh + strip.rows}; }
  Range OutputColumns(const Strip& strip) const { return {strip.ow, strip.ow + strip.columns}; }
  Range RowsInside(const Strip& strip, int64_t kh) const { return Common(rows_inside_[kh], OutputRows(strip)); }
  Range ColumnsInside(const Strip& strip, int64_t kw) const {
    return Common(columns_inside_[kw], OutputColumns(strip));
  }

  const int64_t images_;
  const Problem p_;
  const DirectInPlacePlan& plan_;
  const Kernels<T>& kernels_;
  const Stage<T> stage_;
  const Range bundle_taps_;  // tap by tap, bundle by bundle
  const Range bundles_;
  const int64_t element_size_;
  const PixelView input_, out_backprop_;
  PixelView x_, dy_;  // what is multiplied
  T* all_sums_;
  LaneIndex<T>* first_channels_;  // of each output channel's group, counted from the first one of its vector of X
  Range* rows_inside_;            // output rows, for each row of the filter
  Range* columns_inside_;
  T* x_stage_;
  T* dy_stage_;
  T* sums_;
  RunLookahead next_strip_;
};

template <typename T>
void Run(const Problem& p, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const DirectInPlacePlan& blocking = plan.direct_in_place;
  T* const sums = blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared);
  // As many tasks as there are workers for; whole pixels are read the fastest.
  const int64_t bundle_taps = blocking.bundles * Taps(p);
  const int64_t task_taps =
      CeilDiv(bundle_taps, std::min(bundle_taps, CeilDiv(executor->workers(), blocking.depth_slices)));
  const int64_t tap_tasks = CeilDiv(bundle_taps, task_taps);
  executor->Run(tap_tasks * blocking.depth_slices, [&](int64_t task, int worker) {
    const int64_t first = task % tap_tasks * task_taps;
    const Range taps = {first, std::min(bundle_taps, first + task_taps)};
    Task<T>(p, plan, taps, input, out_backprop, sums, workers + worker * plan.worker_bytes).Run(task / tap_tasks);
  });
  if (blocking.in_place) return;
  const SumLayout layout = {FilterElements(p) / p.out_channels, 1, p.out_channels, p.out_channels};
  ReducePartialSums(KernelsOf<T>(*plan.isa), p.dtype, layout, sums, blocking.depth_slices, filter_backprop, executor);
}

// Why no vector of X has the channels of each vector of dY, which then has filters of several groups or, with AVX2, all
// of one; or null.
const char* WhyNotShareVectors(const Problem& p, const Isa& isa) {
  const int64_t filters = p.out_channels / p.groups, lanes = Lanes(p.dtype, isa);
  if (p.groups == 1) return "the problem has one group";
  if (isa.vector_bytes < kLeastSharedBytes) return "short vectors have no instruction that spreads channels";
  if (isa.vector_bytes < kWideVectorBytes ? filters > lanes : filters >= lanes) return "a group fills vectors";
  if (p.out_channels % lanes != 0) return "the filters do not fill whole vectors";
  if (p.filter_channels > kMaxSharedRows || p.in_channels < lanes)
    return "no vector of X has the channels of one of dY";
  // They lie alike in every so many columns.
  const int64_t period = filters * lanes;
  for (int64_t column = 0; column < std::min(p.out_channels, period); column += lanes) {
    if (InputChannel(p, column + lanes - 1) + p.filter_channels - SharedChannel(p, column, lanes) > lanes) {
      return "no vector of X has the channels of one of dY";
    }
  }
  return nullptr;
}

}  // namespace

const char* WhyNotDirectInPlace(const Problem& p, const Isa& isa) {
  const char* const not_shared = WhyNotShareVectors(p, isa);
  if (not_shared == nullptr) return nullptr;
  if (isa.vector_bytes < kWideVectorBytes) return not_shared;
  if (p.out_channels / p.groups < Lanes(p.dtype, isa)) return "a group's filters do not fill a vector";
  return p.batch == 1 && HasPairs(p.dtype, isa) ? "a single image has no partner" : nullptr;
}

double PixelTapsInPlace(const Problem& p, const DirectInPlacePlan& plan) {
  return static_cast<double>(plan.bf16_pairs ? Paired(p).batch : p.batch) * PixelTaps(p);
}

void PlanDirectInPlace(const Problem& problem, const Isa& isa, Plan* plan) {
  DirectInPlacePlan& d = plan->direct_in_place;
  d.shared_vectors = WhyNotShareVectors(problem, isa) == nullptr;
  d.staged = !d.shared_vectors && !SumsInItsType(problem.dtype);
  d.bf16_pairs = d.staged && HasPairs(problem.dtype, isa);
  const Problem p = d.bf16_pairs ? Paired(problem) : problem;
  const int64_t lanes = Lanes(p.dtype, isa), sum_size = SumSize(p.dtype);
  // A single group in parts: 3 x 3 taps of 512 channels and filters in one slice are 144 tasks for many workers, not 9.
  const int64_t tile_columns = kMaxGroupVectors * lanes;
  const bool whole_tiles = p.groups == 1 && p.out_channels % tile_columns == 0;
  d.columns = d.shared_vectors ? lanes : whole_tiles ? tile_columns : p.out_channels / p.groups;
  d.bundles = p.out_channels / d.columns;
  d.bundle_tiles = p.dtype == DataType::kFloat64 ? BundleTiles(p, d, isa.f64) : BundleTiles(p, d, isa.f32);
  // Long runs of pixels in registers, as far as the second-level cache holds what they see: 14 x 14 pixels gain 7 %
  // over 7 x 14.
  constexpr int64_t kMostPixels = 200;
  const int64_t row_bytes = (p.stride_height * p.in_width * p.in_channels + p.out_width * p.out_channels) *
                            (d.staged ? SumSize(p.dtype) : ElementSize(p.dtype));
  const int64_t most_rows = std::max<int64_t>(1, std::min(kMostPixels / p.out_width, SecondLevelBytes() / row_bytes));
  d.strip_rows = NearEqualShare(p.out_height, std::min(most_rows, p.out_height));
  d.strip_images = NearEqualShare(p.batch, std::max<int64_t>(1, most_rows / p.out_height));
  d.strips =
      CeilDiv(p.batch, d.strip_images) * CeilDiv(p.out_height, d.strip_rows) * CeilDiv(p.out_width, StripColumns(p));
  const int64_t sum_bytes = FilterElements(p) * sum_size;
  // Slices of whole pixels, while their sums are small: 56 x 56 pixels of 1 KiB take 1.4 times as long in halves. Tasks
  // that share out the taps of a single group would all read whole pixels.
  constexpr int64_t kMostSlices = 8, kPartialBytes = 640 << 10;
  const int64_t most_slices =
      p.groups == 1 ? kMostSlices : std::min(kMostSlices, PartialSumsWithin(kPartialBytes, sum_bytes));
  const int64_t task_slices = PowerOfTwoWithin(DepthSlices(std::min(WantedTasks(p), most_slices), d.strips, sum_bytes));
  d.depth_slices = std::max(task_slices, ChainSlices(d.strips, sum_bytes));
  d.in_place = SumsInItsType(p.dtype) && d.depth_slices == 1;
  plan->tasks = d.bundles * Taps(p) * d.depth_slices;
  plan->shared_bytes = d.in_place ? 0 : AlignedBytes(d.depth_slices * sum_bytes);
  const WorkerBytes bytes = WorkerBytesOf(p, d, sum_size);
  d.staged_vectors = static_cast<double>(d.strips) * static_cast<double>(CeilDiv(bytes.x + bytes.dy, isa.vector_bytes));
  plan->worker_bytes = bytes.total();
}

void RunDirectInPlace(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                      void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
