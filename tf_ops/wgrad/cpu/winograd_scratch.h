// Where the parts of the scratch memory of Winograd's algorithm lie.
#ifndef TF_OPS_WGRAD_CPU_WINOGRAD_SCRATCH_H_
#define TF_OPS_WGRAD_CPU_WINOGRAD_SCRATCH_H_

#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

inline constexpr int64_t kWinogradTaps = 9;
// Rows of one packed slice of A, as whole cache lines.
inline constexpr int64_t kWinogradSliceRows = 16;

// In elements of the accumulator: for one bundle, the transforms u of X and v of dY for a chunk, and the summed
// products of a block.
struct WinogradSizes {
  int64_t pitch;  // tiles, odd so that the panels start in different cache sets
  int64_t u_plane, v_plane;
  int64_t sum_columns, sum_plane;
  int64_t u, v, sums;
  int64_t row_taps;  // of one row of a block, before they are rounded
};

inline WinogradSizes SizesOf(const WinogradPlan& plan, int64_t lanes) {
  WinogradSizes s;
  s.pitch = plan.chunk_tiles | 1;
  s.u_plane = s.pitch * RoundUp(plan.rows, lanes);
  s.v_plane = s.pitch * RoundUp(plan.columns, lanes);
  s.sum_columns = RoundUp(plan.column_block, lanes);
  // One line more, so that the sums of an element do not share a cache set.
  s.sum_plane = RoundUp(plan.row_block * s.sum_columns, kWinogradSliceRows) + kWinogradSliceRows;
  s.u = plan.tiling.points() * s.u_plane;
  s.v = plan.tiling.points() * s.v_plane;
  s.sums = plan.tiling.sums() * s.sum_plane;
  s.row_taps = plan.rounded ? kWinogradTaps * s.sum_columns : 0;
  return s;
}

// Of what all workers share.
struct WinogradSharedBytes {
  int64_t zeros, sums, transforms;
  int64_t total() const { return zeros + sums + transforms; }
};

inline WinogradSharedBytes SharedBytesOf(const Problem& p, const WinogradPlan& plan, int64_t lanes, int64_t sum_size) {
  WinogradSharedBytes bytes;
  bytes.zeros = AlignedBytes(std::max(p.in_channels, p.out_channels) * sum_size);
  bytes.sums = plan.in_place || plan.rounded ? 0 : AlignedBytes(plan.partial_sums * FilterElements(p) * sum_size);
  const WinogradSizes sizes = SizesOf(plan, lanes);
  bytes.transforms = plan.shared_transforms ? AlignedBytes(plan.bundles * (sizes.u + sizes.v) * sum_size) : 0;
  return bytes;
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_WINOGRAD_SCRATCH_H_
