// What a block of the wgmma kernel works on: a tile of the product over one slice of the pixels after the other.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_TILE_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_TILE_H_

#include <algorithm>
#include <type_traits>

#include "cutlass/fast_math.h"
#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/wgmma.h"

namespace wgrad::cuda::wgmma {

inline constexpr int kPixels = 64;  // of a step: the depth of a stage in shared memory
inline constexpr int kPanelBytes = kPixels * kPanel * 2;
inline constexpr int kWarpgroup = 128;  // threads

template <InstanceId id>
struct Tile {
  static constexpr Instance kInstance = Get(id);
  using Element = std::conditional_t<kInstance.dtype == DataType::kFloat16, Half, BFloat16>;
  static constexpr int kChannels = kInstance.tile_m;
  static constexpr int kRowPanels = kInstance.tile_n / kPanel;
  static constexpr int kPanels = kRowPanels + kChannels / kPanel;
  static constexpr int kWarpgroups = kRowPanels == 3 ? 3 : std::min(2, kRowPanels);
  static constexpr int kPanelsEach = kRowPanels / kWarpgroups;
  static constexpr int kSums = kPanelsEach * kChannels / 2;  // of a thread
  static constexpr int kStrips = kSums / 8;
  static constexpr int kThreads = kWarpgroups * kWarpgroup + 32;
  // Two blocks share a multiprocessor where their sums leave room: one loads its first pixels, or stores, while the
  // other multiplies.
  static constexpr int kBlocks = kSums * kWarpgroups <= 128 ? 2 : 1;
  static constexpr int kStageBytes = kPanels * kPanelBytes;
  static constexpr int kStages = std::min(8, ((kBlocks == 2 ? 111 : 225) << 10) / kStageBytes);
  static constexpr int kSharedBytes = kStages * (kStageBytes + 16) + 1024;  // a swizzled panel begins at 1024 bytes
  static_assert(kSums * kWarpgroups * kWarpgroup * 4 <= kStages * kStageBytes,
                "a cluster's sums take the stages' place");
  static_assert(kBlocks * (kSharedBytes + 1024) <= 228 << 10, "each block takes 1024 bytes more of the 228 KiB");
};

struct Arguments {
  cutlass::FastDivmod out_width, out_height;
  int depth, slice_depth, slice_count;  // steps in all and in a slice; slices
  int items;                            // tiles of all slices
  int cluster_size;                     // blocks, each with a slice of the same tile; 1 where there are no clusters
  int row_tiles, row_panels, channel_panels, filter_width, channels;
  int groups, channel_tiles, group_out_channels;  // tiles of a group
  int pad_top, pad_left, stride_height, stride_width, dilation_height, dilation_width;
  int64_t filter_rows, out_channels;
  float* slices;
  void* filter_backprop;  // or nullptr: then the slices are what is wanted
};

// A panel of filter rows: channels from `channel` on of one tap.
struct RowPanel {
  int tap, channel;
};

__device__ inline RowPanel RowPanelAt(const Arguments& a, int panel) {
  const int tap = panel / a.channel_panels;
  return {tap, (panel - tap * a.channel_panels) * kPanel};
}

// A tile of one slice.
struct Item {
  int group, first_channel, first_panel, slice;
  int first_step, end_step;
};

// Those of one slice follow each other: they read the same pixels. In clusters, those of one tile do.
template <typename Tile>
__device__ inline Item ItemAt(const Arguments& a, int index) {
  const int cluster = index / a.cluster_size;
  const int tiles = a.row_tiles * a.groups * a.channel_tiles;
  const int slices = cluster / tiles;
  const int tile = cluster - slices * tiles;
  const int column = tile / a.row_tiles;
  const int group = column / a.channel_tiles;
  const int slice = slices * a.cluster_size + index - cluster * a.cluster_size;
  const int first_step = min(slice * a.slice_depth, a.depth);
  return {group,
          (column - group * a.channel_tiles) * Tile::kChannels,
          (tile - column * a.row_tiles) * Tile::kRowPanels,
          slice,
          first_step,
          min(first_step + a.slice_depth, a.depth)};
}

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_TILE_H_
