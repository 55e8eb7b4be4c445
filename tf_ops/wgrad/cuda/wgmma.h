// The filter gradient by Hopper's asynchronous tensor cores: its limits, and its launch.
//
// A tile of the product has `tile_n` filter rows and `tile_m` out channels, both in panels of 128 bytes: 64 elements,
// or 32 of float32. A panel of filter rows is as many channels of one tap, which the tensor memory accelerator gathers
// from X (im2col mode), zeros for the padding included. Every panel lies in shared memory as [pixels][128 bytes],
// swizzled. Half and bfloat16 are multiplied from there. Of tf32 operands the instruction wants those from shared
// memory with pixels side by side: a panel of dY is transposed in its place first, and one of X goes through registers.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_H_

#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/instances.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/cuda/wgmma_layout.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda::wgmma {

inline constexpr int kComputeCapability = 90;  // of sm_90a, whose code no other device runs

inline constexpr int64_t kMostBlocksOfCluster = 8;  // that every device takes

// Whether the blocks that have the slices of a tile can form a cluster.
inline bool CanFormClusters(int64_t slice_count) { return slice_count > 1 && slice_count <= kMostBlocksOfCluster; }

// What becomes of a block's sums.
enum class Finish {
  kRound,    // the filter gradient, of the only slice
  kCluster,  // the filter gradient, which the blocks of a cluster add up, each with one slice of the same tile
  kSlices,   // slices in device memory, which all blocks add up at the end if there is a filter gradient to write
};

// `writes_result`: there is a filter gradient to write, not only slices.
inline Finish FinishOf(bool writes_result, int64_t slice_count, bool in_clusters) {
  if (!writes_result) return Finish::kSlices;
  if (slice_count == 1) return Finish::kRound;
  return in_clusters && CanFormClusters(slice_count) ? Finish::kCluster : Finish::kSlices;
}

// Elements side by side in a panel.
inline int64_t PanelOf(DataType dtype) { return kPanelRowBytes / ElementSize(dtype); }

inline int64_t RowPanels(const Problem& p) {
  return p.filter_height * p.filter_width * CeilDiv(p.filter_channels, PanelOf(p.dtype));
}

// What the kernel writes: the filter gradient; or, where that is null, `slices`, [slices][filter rows][out channels] in
// float32, which it may write in any case.
struct Results {
  bool in_clusters;  // if they can, the blocks of a cluster add up the slices of a tile; otherwise all do at the end
  void* slices;
  void* filter_backprop;     // aligned to 16 bytes
  const Original* original;  // may be null
};

// NHWC. Pixels of X are `in_channels` apart, of which each group reads `filter_channels`.
Status Launch(InstanceId id, const Problem& p, const void* input, const void* out_backprop, int64_t slice_count,
              const Results& results, Stream stream);

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_H_
