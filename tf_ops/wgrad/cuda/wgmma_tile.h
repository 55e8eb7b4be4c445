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

inline constexpr int kWarpgroup = 128;  // threads
inline constexpr int kBand = 64;        // filter rows that one instruction multiplies

template <DataType dtype>
struct ElementOf;
template <>
struct ElementOf<DataType::kFloat16> {
  using Type = Half;
};
template <>
struct ElementOf<DataType::kBFloat16> {
  using Type = BFloat16;
};
template <>
struct ElementOf<DataType::kFloat32> {
  using Type = float;
};

template <InstanceId id>
struct Tile {
  static constexpr Instance kInstance = Get(id);
  using Element = typename ElementOf<kInstance.dtype>::Type;
  static constexpr bool kTransposes = kInstance.dtype == DataType::kFloat32;  // dY, in shared memory
  static constexpr int kPixels = kInstance.tile_k;  // of a step: the depth of a stage in shared memory
  static constexpr int kPanel = kPanelRowBytes / sizeof(Element);
  static constexpr int kPanelBytes = kPixels * kPanelRowBytes;
  static constexpr int kChannels = kInstance.tile_m;
  static constexpr int kChannelPanels = kChannels / kPanel;
  static constexpr int kRowPanels = kInstance.tile_n / kPanel;
  static constexpr int kPanels = kRowPanels + kChannelPanels;
  static constexpr int kBandPanels = kBand / kPanel;
  static constexpr int kBands = kInstance.tile_n / kBand;
  static constexpr int kMostWarpgroups = kTransposes && kChannels == 64 ? 1 : 2;
  static constexpr int kWarpgroups = kBands == 3 ? 3 : std::min(kMostWarpgroups, kBands);  // that multiply
  static constexpr int kBandsEach = kBands / kWarpgroups;
  static constexpr int kSums = kBandsEach * kChannels / 2;  // of a thread
  static constexpr int kStrips = kSums / 8;
  // 128 sums and the rows on their way take more registers than 384 threads have each: those that do not multiply lend
  // some of theirs.
  static constexpr bool kLendsRegisters = kTransposes && kSums == 128;
  // Warps: one for each panel of dY, where there is room for them and for the one that loads, or else two. On an H100,
  // four instead of two made the tile of 128 x 128 faster by a tenth.
  static constexpr int kMostWarps = kLendsRegisters ? 12 : 16;
  static constexpr bool kOneForEach = 4 * kWarpgroups + kChannelPanels + 1 <= kMostWarps;
  static constexpr int kTransposers = !kTransposes ? 0 : kOneForEach ? kChannelPanels : 2;
  static constexpr int kThreads = kLendsRegisters ? 32 * kMostWarps : 32 * (4 * kWarpgroups + kTransposers + 1);
  // Two blocks share a multiprocessor where their sums leave room: one loads its first pixels, or stores, while the
  // other multiplies. What goes through registers takes room too.
  static constexpr int kBlocks = kSums * kWarpgroups <= (kTransposes ? 64 : 128) ? 2 : 1;
  static constexpr int kStageBytes = kPanels * kPanelBytes;
  static constexpr int kStages = std::min(8, ((kBlocks == 2 ? 111 : 225) << 10) / kStageBytes);
  static constexpr int kBarriers = kTransposes ? 3 : 2;                                // of a stage
  static constexpr int kSharedBytes = kStages * (kStageBytes + 8 * kBarriers) + 1024;  // a panel begins at 1024 bytes
  static_assert(kBands % kWarpgroups == 0);
  static_assert(kStages >= 2, "a stage is awaited before the one before is released");
  static_assert(kSums * kWarpgroups * kWarpgroup * 4 <= kStages * kStageBytes,
                "a cluster's sums take the stages' place");
  static_assert(!kTransposes || (kPixels == kPanel && kChannelPanels % std::max(1, kTransposers) == 0),
                "panels are squares, and each warp that transposes has as many");
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

template <typename Tile>
__device__ inline RowPanel RowPanelAt(const Arguments& a, int panel) {
  const int tap = panel / a.channel_panels;
  return {tap, (panel - tap * a.channel_panels) * Tile::kPanel};
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
