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

// A block of dW's rows for each task, where there are more workers than slices.
constexpr int64_t kLeastRows = 32, kMostTasks = 32;

// A block's pixels, or pairs of them: fewer load and store dW too often, more gain nothing.
constexpr int64_t kLeastDepth = 72, kMostDepth = 136;

// A slice's: its sums are written, and read again to be added, while blocks of dW's rows share nothing but dY. Two
// slices of 784 pixels lose 2 % against one with 576 channels and 96 filters, 4 % with 256 and 1024, and two threads 19
// % with 512 and 128.
constexpr int64_t kLeastSlicePixels = 1024;

int64_t Pixels(const Problem& p) { return p.batch * p.out_height * p.out_width; }

// An element of X and of dY, or of their stages, for each channel.
int64_t RowBytes(const Problem& p) { return (p.in_channels + p.out_channels) * SumSize(p.dtype); }

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
  Task(const Problem& problem, const Plan& plan, const Range& rows, const void* input, const void* out_backprop,
       T* sums, char* scratch)
      : p_(problem),
        plan_(plan.pointwise),
        kernels_(KernelsOf<T>(*plan.isa, plan_.bf16_pairs)),
        stage_(kernels_, problem.dtype, plan_.bf16_pairs),
        rows_(rows),
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
    // The last vector of a pixel may reach into the next one, but not over the end of dY.
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
    const char* x = input_ + first * p_.in_channels * element_size_;
    const char* dy = out_backprop_ + first * p_.out_channels * element_size_;
    const int64_t rows = CeilDiv(depth, PixelsPerRow(plan_.bf16_pairs)), bytes = depth * element_size_;
    // Behind the last block this asks for what is not there, which does no harm.
    SpreadOverTiles next_block({x + bytes * p_.in_channels, bytes * p_.in_channels},
                               {dy + bytes * p_.out_channels, bytes * p_.out_channels}, Tiles(),
                               rows / kernels_.lookahead_pixels);
    if (plan_.waits_for_memory) PrefetchToSecondLevel({dy + bytes * p_.out_channels, bytes * p_.out_channels});
    if (plan_.staged) {
      StagePixels(input_, p_.in_channels, rows_, first, depth, x_);
      StagePixels(out_backprop_, p_.out_channels, {0, p_.out_channels}, first, depth, dy_);
      Multiply(x_, rows_.size(), dy_, rows, accumulate, &next_block);
    } else {
      Multiply(reinterpret_cast<const T*>(x) + rows_.begin, p_.in_channels, reinterpret_cast<const T*>(dy), rows,
               accumulate, &next_block);
    }
  }

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
    Multiply(x + rows_.begin, p_.in_channels, dy_, 1, true, &nothing);
  }

  // `a` are the channels of this task's rows of dW.
  void Multiply(const T* a, int64_t a_stride, const T* b, int64_t depth, bool accumulate, SpreadOverTiles* next_block) {
    const Sums<T> sums = {sums_, plan_.padded_columns, accumulate, plan_.sums_in_cache};
    ForEachTile([&](int64_t row, int64_t rows, int64_t vector, int64_t vectors) {
      const int64_t column = vector * kernels_.lanes;
      Lookahead lookahead = next_block->OfNextTile();
      kernels_.micro[kNotIndexed][vectors][rows](depth, a + row - rows_.begin, a_stride, b + column, p_.out_channels,
                                                 nullptr, sums.From(row, column), &lookahead);
    });
  }

  template <typename Visit>
  void ForEachTile(const Visit& visit) const {
    ForEachShare(plan_.padded_columns / kernels_.lanes, kMaxVectors, [&](int64_t vector, int64_t vectors) {
      ForEachShare(rows_.size(), kernels_.max_rows[vectors],
                   [&](int64_t row, int64_t rows) { visit(rows_.begin + row, rows, vector, vectors); });
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
  const Range rows_;
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
  // Those that share the rows of a slice all read the whole of its dY.
  const int64_t row_tasks = std::min(plan.tasks / slices, CeilDiv(executor->workers(), slices));
  const int64_t task_rows = CeilDiv(p.in_channels, row_tasks);
  T* const sums = blocking.in_place ? static_cast<T*>(filter_backprop) : reinterpret_cast<T*>(shared);
  executor->Run(slices * row_tasks, [&](int64_t task, int worker) {
    const int64_t row = task % row_tasks * task_rows, slice = task / row_tasks;
    const Range rows = {row, std::min(p.in_channels, row + task_rows)};
    Task<T>(p, plan, rows, input, out_backprop, sums + slice * p.in_channels * blocking.padded_columns,
            workers + worker * plan.worker_bytes)
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
  return (SumsInItsType(p.dtype) ? kLeastDepth : kLeastStagedDepth) * RowBytes(p) <= MostBlockBytes();
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
                                 : std::clamp(MostBlockBytes() / row_bytes, kLeastDepth, kMostDepth);
  const int64_t blocks = CeilDiv(rows, most_depth);
  const int64_t sum_bytes = p.in_channels * w.padded_columns * SumSize(p.dtype);
  constexpr int64_t kSumsBytes = 256 << 10;
  w.sums_in_cache = sum_bytes <= kSumsBytes;
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
  plan->tasks =
      w.depth_slices * std::clamp<int64_t>(kMostTasks / w.depth_slices, 1, CeilDiv(p.in_channels, kLeastRows));
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
