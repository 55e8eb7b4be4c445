// How Winograd's algorithm is blocked: in chunks of tiles that are tasks of their own, or that all workers share.
#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/streaming.h"
#include "tf_ops/wgrad/cpu/winograd.h"
#include "tf_ops/wgrad/cpu/winograd_scratch.h"

namespace wgrad {
namespace {

// A worker's scratch memory for the sums, and what all have for partial sums and for shared transforms.
constexpr int64_t kSumBytes = 5 << 19, kPartialBytes = 8 << 20, kTransformBytes = 15 << 20;
constexpr int64_t kMaxTasks = 16;

// Of one bundle.
int64_t TileBytes(const Problem& p, const WinogradPlan& w) {
  return w.tiling.points() * (w.rows + w.columns) * SumSize(p.dtype);
}

void CutIntoChunks(int64_t chunks, WinogradPlan* w) {
  w->chunk_tiles = CeilDiv(w->tiles, chunks);
  w->chunks = CeilDiv(w->tiles, w->chunk_tiles);
}

// A task has its own chunks, and its own sums of all of its bundles' dW.
void PlanChunksPerTask(const Problem& p, WinogradPlan* w) {
  // Two cache lines of a pixel at a time: one loses 4-8 %.
  constexpr int64_t kRunBytes = 128;
  w->bundles_per_task =
      std::clamp<int64_t>(kRunBytes / (std::max(w->rows, w->columns) * SumSize(p.dtype)), 1, w->bundles);
  int64_t chunks = CeilDiv(w->tiles, kMaxWinogradRun);
  // Each of few chunks is a task. Eight instead of seven gain 5 % on two threads, and lose 1 % on one.
  if (chunks > 1 && chunks < kMaxTasks) chunks = RoundUp(chunks, 2);
  CutIntoChunks(chunks, w);
  w->row_block = w->rows;
  w->column_block = w->columns;
  w->bundle_tasks = CeilDiv(w->bundles, w->bundles_per_task);
  const int64_t sum_bytes = FilterElements(p) * SumSize(p.dtype);
  const int64_t task_sums = std::min(CeilDiv(kMaxTasks, w->bundle_tasks), PartialSumsWithin(kPartialBytes, sum_bytes));
  // Of odd pixels, as many products of a tile as it has pixels are added to one sum.
  const int64_t chunk_additions = p.stride_height == 1 ? 1 : kLargeSide * kLargeSide;
  const int64_t chain_sums = ChainSlices(w->chunks * chunk_additions, sum_bytes);
  w->chunks_per_task = CeilDiv(w->chunks, std::max(task_sums, chain_sums));
  w->partial_sums = CeilDiv(w->chunks, w->chunks_per_task);
}

// Whether the transforms had better be shared than planned as above.
bool SharesTransforms(const Problem& p, const Isa& isa, const WinogradPlan& w) {
  // A worker can hold the 36 sums of up to 128 x 128 channels itself, or the 25 of 160 x 160.
  if (w.tiling.sums() * w.rows * w.columns * SumSize(p.dtype) > kSumBytes) return true;
  if ((kMaxWinogradRun + 1) * TileBytes(p, w) > kTransformBytes) return true;
  // Partial sums of so many bytes for each byte of a transform take longer to write, read and add: 28 x 28 pixels of
  // 128 channels (0.33) gain 10 %, of 64 and 128 (0.22) 5 to 8 %; of 64 (0.16) they lose 3 % on two threads. Without
  // streaming stores, which whole lines take, 64 and 128 would lose 32 %.
  constexpr double kManySums = 0.2;
  const int64_t partial_bytes = w.partial_sums * FilterElements(p) * SumSize(p.dtype);
  const int64_t transform_bytes = w.tiles * w.bundles * TileBytes(p, w);
  if (StreamsLines(isa) && w.partial_sums > 1 && partial_bytes > kManySums * static_cast<double>(transform_bytes))
    return true;
  // So few tasks leave workers idle: shared, one image of 28 x 28 pixels and 128 channels takes 0.6 of the time on two
  // threads, and 0.9 on one. Workers wait for each other then, which only long tasks pay for: an only one of 14 or 16
  // MFLOP would lose 20 to 30 %, of 32 MFLOP 6 %.
  constexpr int64_t kFewTasks = 4;
  constexpr double kLongTask = 150e6, kLongOnlyTask = 50e6;  // FLOP
  const int64_t tasks = w.bundle_tasks * w.chunks;
  return tasks <= kFewTasks && DirectFlops(p) > static_cast<double>(tasks) * (tasks == 1 ? kLongOnlyTask : kLongTask);
}

void PlanSharedTransforms(const Problem& p, int64_t lanes, WinogradPlan* w) {
  w->shared_transforms = true;
  w->bundles_per_task = 1;
  constexpr int64_t kMostTiles = 4 * kMaxWinogradRun;
  CutIntoChunks(
      CeilDiv(w->tiles, std::clamp<int64_t>(kTransformBytes / (w->bundles * TileBytes(p, *w)), 1, kMostTiles)), w);
  // 36 sums of 32 x 48 floats are 216 KiB, within the second-level cache beside one point's panels. With AVX-512 twice
  // as many gain 1 %, where they leave enough tasks.
  w->row_block = 2 * kWinogradSliceRows;
  w->column_block = kMaxVectors * lanes;
  if (w->bundles * CeilDiv(w->rows, w->row_block) * CeilDiv(w->columns, 2 * w->column_block) >= kMaxTasks) {
    w->column_block *= 2;
  }
  w->bundle_tasks = 1;
  w->partial_sums = 1;
  w->chunks_per_task = w->chunks;
}

}  // namespace

void PlanWinograd(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  WinogradPlan& w = plan->winograd;
  w.tiling = {p.stride_height,
              p.batch,
              std::min(p.dilation_height, p.out_height),
              std::min(p.dilation_width, p.out_width),
              CutIntoTiles(CeilDiv(p.out_height, p.dilation_height)),
              CutIntoTiles(CeilDiv(p.out_width, p.dilation_width))};
  w.tiles = w.tiling.tiles();

  const int64_t filters = p.out_channels / p.groups;
  w.bundle_groups = std::clamp<int64_t>(lanes / filters, 1, p.groups);
  while (p.groups % w.bundle_groups != 0) --w.bundle_groups;
  w.bundles = p.groups / w.bundle_groups;
  w.rows = w.bundle_groups * p.filter_channels;
  w.columns = w.bundle_groups * filters;

  PlanChunksPerTask(p, &w);
  if (SharesTransforms(p, isa, w)) PlanSharedTransforms(p, lanes, &w);
  w.in_place = w.partial_sums == 1 && SumsInItsType(p.dtype);
  w.rounded = !SumsInItsType(p.dtype) && (w.shared_transforms ? w.chunks : w.partial_sums) == 1;

  plan->tasks = w.shared_transforms ? w.bundles * CeilDiv(w.rows, w.row_block) * CeilDiv(w.columns, w.column_block)
                                    : w.bundle_tasks * w.partial_sums;
  const WinogradSizes sizes = SizesOf(w, lanes);
  plan->shared_bytes = SharedBytesOf(p, w, lanes, sum_size).total();
  const int64_t bundle_elements = sizes.sums + (w.shared_transforms ? 0 : sizes.u + sizes.v);
  plan->worker_bytes = AlignedBytes((w.bundles_per_task * bundle_elements + sizes.row_taps) * sum_size);
}

}  // namespace wgrad
