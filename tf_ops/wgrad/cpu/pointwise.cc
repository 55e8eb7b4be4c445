// Pointwise convolutions where X and dY lie: a matrix product whose operands are whole pixels in the order of the
// memory. A block of pixels is multiplied while the next one is asked for, so that it comes from the second-level
// cache, which feeds a micro-kernel of AVX-512 as fast as packed panels do: 114 GFLOP/s of 118. Blocks of the 16-bit
// types are staged first: 670 random problems of bfloat16 gain 26 % over panels, 658 of half 16 %.
#include "tf_ops/wgrad/cpu/pointwise.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/stage.h"

namespace wgrad {
namespace {

// To pack a pixel of so few channels takes longer than to multiply it: 32 and 32 gain 20 %, 64 and 64 nothing that
// shows.
constexpr int64_t kFewChannels = 32;

// A part of dW for each task, where there are more workers than slices.
constexpr int64_t kLeastPart = 32, kMostTasks = 32;

// A block's pixels, or pairs of them: fewer load and store dW too often, more gain nothing.
constexpr int64_t kLeastDepth = 72, kMostDepth = 136;

// A slice's: its sums are written, and read again to be added, while parts of dW read nothing twice but the narrower of
// X and dY. Two slices of 784 pixels lose 2 % against one with 576 channels and 96 filters, 4 % with 256 and 1024, and
// two threads 19 % with 512 and 128.
constexpr int64_t kLeastSlicePixels = 1024;

int64_t Pixels(const Problem& p) { return p.batch * p.out_height * p.out_width; }

// An element of X and of dY, or of their stages, for each channel.
int64_t RowBytes(const Problem& p) { return (p.in_channels + p.out_channels) * SumSize(p.dtype); }

// Into how many parts to cut dW along its wider side. Those of 512 KiB stay in the second-level cache while they are
// added to, and their blocks are longer: 256 channels and 1024 filters gain 2 % on one thread and 4 to 16 on two.
// Powers of two: 2 threads share 3 parts out unevenly. The 16-bit types would stage the narrower side for each part.
int64_t CacheParts(const Problem& p) {
  constexpr int64_t kPartBytes = 512 << 10;
  int64_t parts = 1;
  while (SumsInItsType(p.dtype) && FilterElements(p) * SumSize(p.dtype) > parts * kPartBytes) parts *= 2;
  return parts;
}

// What a part reads of a pixel.
int64_t PartRowBytes(const Problem& p) {
  const auto [narrow, wide] = std::minmax(p.in_channels, p.out_channels);
  return (narrow + CeilDiv(wide, CacheParts(p))) * SumSize(p.dtype);
}

// Whether a product has to wait for its pixels, whose blocks are short then and asked for as a whole: tensors that no
// cache holds, few rows, and pixels of more lines than the widest tile takes, up to 1 KiB. 64 channels and 1, 2 or 8
// filters take 0.69 to 0.78 of the time, 256 and 1 0.83; with 16 filters nothing is gained, and tensors of 6 MiB would
// take 1.5 times as long.
bool WaitsForMemory(const Problem& p) {
  constexpr int64_t kFewRows = 16, kWidestTileBytes = kMaxVectors * kWideVectorBytes, kMostPixelBytes = 1 << 10;
  constexpr int64_t kCacheBytes = 16 << 20;
  const int64_t wide_bytes = p.out_channels * ElementSize(p.dtype);
  return SumsInItsType(p.dtype) && p.in_channels < kFewRows && kWidestTileBytes < wide_bytes &&
         wide_bytes <= kMostPixelBytes && Pixels(p) * RowBytes(p) > kCacheBytes;
}

// dW cut into parts along its wider side.
class Parts {
 public:
  // Into `parts`, or less where those would not be whole vectors.
  Parts(const Problem& p, const PointwisePlan& plan, int64_t lanes, int64_t parts)
      : rows_(p.in_channels), columns_(plan.padded_columns) {
    share_ = RoundUp(CeilDiv(wide(), parts), CutsColumns() ? lanes : 1);
  }

  int64_t count() const { return CeilDiv(wide(), share_); }
  Range rows(int64_t part) const { return CutsColumns() ? Range{0, rows_} : Share(part); }
  Range columns(int64_t part) const { return CutsColumns() ? Share(part) : Range{0, columns_}; }

 private:
  bool CutsColumns() const { return columns_ > rows_; }
  int64_t wide() const { return std::max(rows_, columns_); }
  Range Share(int64_t part) const { return {part * share_, std::min(wide(), (part + 1) * share_)}; }

  int64_t rows_, columns_, share_;
};

struct WorkerBytes {
  int64_t x, dy;
  int64_t total() const { return x + dy; }
};

// For the stages of a block, whose last vector may reach over their end; or for the last pixel of dY.
WorkerBytes WorkerBytesOf(const Problem& p, const PointwisePlan& plan) {
  const int64_t element = SumSize(p.dtype), missing = plan.padded_columns - p.out_channels;
  if (!plan.staged) return {0, missing == 0 ? 0 : AlignedBytes(plan.padded_columns * element)};
  const int64_t rows = CeilDiv(plan.depth_block, PixelsPerRow(plan.bf16_pairs));
  return {AlignedBytes(rows * p.in_channels * element), AlignedBytes((rows * p.out_channels + missing) * element)};
}

template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const Range& rows, const Range& columns, const void* input,
       const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.pointwise),
        kernels_(KernelsOf<T>(*plan.isa, plan_.bf16_pairs)),
        stage_(kernels_, problem.dtype, plan_.bf16_pairs),
        rows_(rows),
        columns_(columns),
        filters_(Common(columns, {0, problem.out_channels})),
        element_size_(ElementSize(problem.dtype)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        sums_(sums),
        x_(reinterpret_cast<T*>(scratch)),
        dy_(reinterpret_cast<T*>(scratch + WorkerBytesOf(problem, plan_).x)) {}

  void Run(int64_t depth_slice) {
    const int64_t slice_pixels = plan_.blocks_per_slice * plan_.depth_block;
    const int64_t begin = depth_slice * slice_pixels, pixels = Pixels(p_);
    const int64_t end = std::min(pixels, begin + slice_pixels);
    // The last vector of a pixel may reach into the next one, but not over the end of dY. Parts without that vector add
    // the last pixel by itself too: dW does not depend on how it is cut.
    const bool reaches_over = !plan_.staged && end == pixels && plan_.padded_columns > p_.out_channels;
    for (int64_t first = begin; first < end; first += plan_.depth_block) {
      const int64_t depth = std::min(plan_.depth_block, end - first);
      const bool last = reaches_over && first + depth == pixels;
      Block(first, depth - (last ? 1 : 0), first != begin);
    }
    if (reaches_over) LastPixel(pixels - 1);
  }

 private:
  void Block(int64_t first, int64_t depth, bool accumulate) {
    const Runs x = RunsOf(input_, p_.in_channels, rows_, first, depth);
    const Runs dy = RunsOf(out_backprop_, p_.out_channels, filters_, first, depth);
    const int64_t rows = CeilDiv(depth, PixelsPerRow(plan_.bf16_pairs)), asks = rows / kernels_.lookahead_pixels;
    const int64_t tiles = Tiles();
    if (plan_.waits_for_memory) PrefetchToSecondLevel(Next(dy));
    if (plan_.staged) {
      StagePixels(input_, p_.in_channels, rows_, first, depth, x_);
      StagePixels(out_backprop_, p_.out_channels, filters_, first, depth, dy_);
      SpreadOverTiles next_block(Next(x), Next(dy), tiles, asks);
      Multiply(x_, rows_.size(), dy_, filters_.size(), rows, accumulate, &next_block);
      return;
    }
    const auto multiply = [&](auto next_block) {
      Multiply(reinterpret_cast<const T*>(x.first), p_.in_channels, reinterpret_cast<const T*>(dy.first),
               p_.out_channels, rows, accumulate, &next_block);
    };
    const bool whole_pixels = x.bytes == x.stride && dy.bytes == dy.stride;
    if (whole_pixels || tiles < depth) {
      multiply(SpreadOverTiles(Next(x), Next(dy), tiles, asks));
    } else {
      multiply(RunsOverTiles(NextRuns(x), NextRuns(dy), tiles, asks));
    }
  }

  Runs RunsOf(const char* tensor, int64_t channels, const Range& part, int64_t first, int64_t depth) const {
    return {tensor + (first * channels + part.begin) * element_size_, part.size() * element_size_,
            channels * element_size_, depth};
  }

  // Of the next block. Behind the last one this asks for what is not there, which does no harm.
  static Runs NextRuns(const Runs& runs) {
    return {runs.first + runs.count * runs.stride, runs.bytes, runs.stride, runs.count};
  }

  // With what lies between the runs.
  static Bytes Next(const Runs& runs) { return {NextRuns(runs).first, runs.count * runs.stride}; }

  // A block of the channels, of which all are one run. Pairs are pixels of the first half with those of the second one.
  void StagePixels(const char* from, int64_t channels, const Range& block, int64_t first, int64_t depth, T* to) const {
    const int64_t row_pixels = PixelsPerRow(plan_.bf16_pairs);
    const int64_t rows = CeilDiv(depth, row_pixels), whole = depth / row_pixels;
    const int64_t run_rows = block.size() == channels ? std::max<int64_t>(1, whole) : 1;
    for (int64_t row = 0; row < rows; row += run_rows) {
      const bool paired = row < whole;
      stage_.Copy(from, (first + row) * channels + block.begin,
                  paired ? (first + rows + row) * channels + block.begin : -1,
                  (paired ? run_rows : rows - row) * block.size(), to + row * block.size());
    }
  }

  void LastPixel(int64_t pixel) {
    const T* x = reinterpret_cast<const T*>(input_) + pixel * p_.in_channels;
    const T* dy = reinterpret_cast<const T*>(out_backprop_) + pixel * p_.out_channels;
    std::fill(std::copy_n(dy, p_.out_channels, dy_), dy_ + plan_.padded_columns, T(0));
    SpreadOverTiles nothing({x, 0}, {x, 0}, Tiles(), 1);
    Multiply(x + rows_.begin, p_.in_channels, dy_ + columns_.begin, p_.out_channels, 1, true, &nothing);
  }

  // `a` and `b` are the channels of this task's rows and columns of dW.
  template <typename NextBlock>
  void Multiply(const T* a, int64_t a_stride, const T* b, int64_t b_stride, int64_t depth, bool accumulate,
                NextBlock* next_block) {
    const Sums<T> sums = {sums_, plan_.padded_columns, accumulate, plan_.sums_in_cache};
    ForEachTile([&](int64_t row, int64_t rows, int64_t vector, int64_t vectors) {
      const int64_t column = vector * kernels_.lanes;
      Lookahead lookahead = next_block->OfNextTile();
      kernels_.micro[kNotIndexed][vectors][rows](depth, a + row, a_stride, b + column, b_stride, nullptr,
                                                 sums.From(rows_.begin + row, columns_.begin + column), &lookahead);
    });
  }

  template <typename Visit>
  void ForEachTile(const Visit& visit) const {
    ForEachShare(columns_.size() / kernels_.lanes, kMaxVectors, [&](int64_t vector, int64_t vectors) {
      ForEachShare(rows_.size(), kernels_.max_rows[vectors],
                   [&](int64_t row, int64_t rows) { visit(row, rows, vector, vectors); });
    });
  }

  int64_t Tiles() const {
    int64_t tiles = 0;
    ForEachTile([&](auto...) { ++tiles; });
    return tiles;
  }

  const Problem& p_;
  const PointwisePlan& plan_;
  const Kernels<T>& kernels_;
  const Stage<T> stage_;
  const Range rows_, columns_;  // of dW
  const Range filters_;         // the columns without those that fill the last vector up
  const int64_t element_size_;
  const char* input_;
  const char* out_backprop_;
  T* sums_;
  T* x_;   // the stage of a block
  T* dy_;  // also the last pixel, filled up with zeros
};

template <typename T>
void Run(const Problem& p, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const PointwisePlan& blocking = plan.pointwise;
  const int64_t slices = blocking.depth_slices;
  // Those of a slice all read the whole of the narrower side.
  const Parts parts(p, blocking, KernelsOf<T>(*plan.isa).lanes,
                    std::max(blocking.parts, std::min(plan.tasks / slices, CeilDiv(executor->workers(), slices))));
  T* const sums = blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared);
  executor->Run(slices * parts.count(), [&](int64_t task, int worker) {
    const int64_t slice = task / parts.count(), part = task % parts.count();
    Task<T>(p, plan, parts.rows(part), parts.columns(part), input, out_backprop,
            sums + slice * p.in_channels * blocking.padded_columns, workers + worker * plan.worker_bytes)
        .Run(slice);
  });
  if (blocking.in_place) return;
  const SumLayout layout = {p.in_channels, 1, p.out_channels, blocking.padded_columns};
  ReducePartialSums(KernelsOf<T>(*plan.isa), p.dtype, layout, sums, slices, filter_backprop, executor);
}

}  // namespace

bool HasFewChannels(const Problem& p) { return p.in_channels <= kFewChannels; }

bool BlocksFitInCache(const Problem& p) {
  // Beside a staged block its pixels have been read: 14 x 14 pixels of 1024 and 256 channels would lose 2 to 5 %.
  constexpr int64_t kLeastStagedDepth = 80;
  // Over packed panels parts of 96 pixels, of 256 channels and 1024 filters in float64, gain 7 %, of 128 in float32 0
  // to 13 %; of 85, of 1024 and 1024, they lose 4 %.
  constexpr int64_t kLeastPartDepth = 90;
  const int64_t least_depth = !SumsInItsType(p.dtype) ? kLeastStagedDepth
                              : CacheParts(p) > 1     ? kLeastPartDepth
                                                      : kLeastDepth;
  return least_depth * PartRowBytes(p) <= MostBlockBytes();
}

void PlanPointwise(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t row_bytes = RowBytes(p);
  PointwisePlan& w = plan->pointwise;
  w.staged = !SumsInItsType(p.dtype);
  w.bf16_pairs = HasPairs(p.dtype, isa);
  const int64_t row_pixels = PixelsPerRow(w.bf16_pairs), rows = CeilDiv(Pixels(p), row_pixels);
  w.padded_columns = RoundUp(p.out_channels, Lanes(p.dtype, isa));
  w.waits_for_memory = WaitsForMemory(p);
  // What a block of few channels reads stays in the first-level cache, whose lines neighbouring panels share.
  const int64_t first_level_bytes = w.waits_for_memory ? 4 << 10 : 16 << 10;
  const int64_t most_depth = !w.staged && HasFewChannels(p)
                                 ? std::clamp<int64_t>(first_level_bytes / row_bytes, w.waits_for_memory ? 4 : 16, 256)
                                 : std::clamp(MostBlockBytes() / PartRowBytes(p), kLeastDepth, kMostDepth);
  const int64_t blocks = CeilDiv(rows, most_depth);
  const int64_t sum_bytes = p.in_channels * w.padded_columns * SumSize(p.dtype);
  constexpr int64_t kSumsBytes = 256 << 10;
  w.parts = CacheParts(p);
  w.sums_in_cache = sum_bytes / w.parts <= kSumsBytes;
  // 128 KiB take a thread 10 us. Eight partial sums, or as many as are small, cost little: 32 of 64 KiB lose 2 %.
  constexpr int64_t kTaskBytes = 128 << 10, kPartialBytes = 512 << 10, kFewSlices = 8;
  const int64_t most_slices = std::clamp(kPartialBytes / sum_bytes, kFewSlices, kMostTasks);
  const int64_t wanted =
      std::clamp<int64_t>(std::min(rows * row_bytes / kTaskBytes, Pixels(p) / kLeastSlicePixels), 1, most_slices);
  const int64_t slices =
      std::max(PowerOfTwoWithin(DepthSlices(wanted, blocks, sum_bytes)), ChainSlices(blocks, sum_bytes));
  const int64_t slice_rows = CeilDiv(rows, slices), block_rows = NearEqualShare(slice_rows, most_depth);
  w.depth_block = block_rows * row_pixels;
  w.blocks_per_slice = CeilDiv(slice_rows, block_rows);
  w.depth_slices = CeilDiv(rows, w.blocks_per_slice * block_rows);
  const int64_t most_parts = CeilDiv(std::max(p.in_channels, w.padded_columns), kLeastPart);
  plan->tasks = w.depth_slices * std::max(w.parts, std::min(kMostTasks / w.depth_slices, most_parts));
  w.in_place = !w.staged && w.depth_slices == 1 && w.padded_columns == p.out_channels;
  plan->shared_bytes = w.in_place ? 0 : AlignedBytes(w.depth_slices * sum_bytes);
  plan->worker_bytes = WorkerBytesOf(p, w).total();
}

void RunPointwise(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
