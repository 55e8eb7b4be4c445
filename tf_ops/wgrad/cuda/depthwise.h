// Depthwise and thin groups, NHWC: neighbouring threads hold neighbouring out channels, so that a warp reads 32 of them
// at once, and each thread keeps the sums of several filter rows, so that a value of dY is read once for all of them.
#ifndef TF_OPS_WGRAD_CUDA_DEPTHWISE_H_
#define TF_OPS_WGRAD_CUDA_DEPTHWISE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"

namespace wgrad::cuda::depthwise {

inline constexpr int kChannels = 32;                 // of a block: one warp wide
inline constexpr int kLanes = kThreads / kChannels;  // that share a channel, each with every eighth pixel of the slice
inline constexpr int kRows = 9;  // filter rows of a block: a whole 3 x 3 filter when the groups are single channels
// As in general.h.
inline constexpr int kChain = 512;

struct Tile {
  int64_t row, channel, slice;
};

WGRAD_HOST_DEVICE int64_t RowTiles(const Problem& p) { return CeilDiv(FilterRows(p), kRows); }
WGRAD_HOST_DEVICE int64_t ChannelTiles(const Problem& p) { return CeilDiv(p.out_channels, kChannels); }
WGRAD_HOST_DEVICE int64_t Tiles(const Problem& p) { return RowTiles(p) * ChannelTiles(p); }

WGRAD_HOST_DEVICE Tile TileAt(const Problem& p, int64_t block) {
  const int64_t channel = block % ChannelTiles(p);
  block /= ChannelTiles(p);
  return {block % RowTiles(p) * kRows, channel * kChannels, block / RowTiles(p)};
}

template <typename T>
struct Shared {
  Accumulator<T> sums[kLanes][kRows][kChannels];
};

// A tap with its distance in X from the window's corner. 32 bits each, because nine of them live in registers: with 64
// the kernel needs 176 registers and runs one block per multiprocessor. The planner sends larger images elsewhere.
struct ShortTap {
  int32_t h, w, offset;
};

WGRAD_HOST_DEVICE ShortTap ShortTapAt(const Problem& p, int64_t row) {
  // A row beyond the filter looks above every input.
  if (row >= FilterRows(p)) return {INT32_MIN / 2, 0, 0};
  const Tap tap = TapAt(p, row);
  return {static_cast<int32_t>(tap.h), static_cast<int32_t>(tap.w),
          static_cast<int32_t>((tap.h * p.in_width + tap.w) * p.in_channels + tap.channel)};
}

// Sums the thread's share of the pixels in [pixels.begin, pixels.end).
template <typename T>
WGRAD_DEVICE void Accumulate(const Problem& p, const Tile& tile, Range pixels, const T* input, const T* out_backprop,
                             int thread, Shared<T>* shared) {
  const int lane = thread / kChannels;
  const int64_t channel = tile.channel + thread % kChannels;
  const auto in_height = static_cast<uint32_t>(p.in_height);
  const auto in_width = static_cast<uint32_t>(p.in_width);
  Accumulator<T> total[kRows] = {};
  if (channel < p.out_channels) {
    const T* group_input = input + channel / (p.out_channels / p.groups) * p.filter_channels;
    ShortTap taps[kRows];
    for (int r = 0; r < kRows; ++r) taps[r] = ShortTapAt(p, tile.row + r);
    int64_t index = pixels.begin + lane;
    Pixel pixel = PixelAt(p, index);
    while (index < pixels.end) {
      const int64_t chain_end = index + kChain * kLanes < pixels.end ? index + kChain * kLanes : pixels.end;
      Accumulator<T> chain[kRows] = {};
      for (; index < chain_end; index += kLanes) {
        const Accumulator<T> gradient = Widen(out_backprop[index * p.out_channels + channel]);
        const auto h = static_cast<int32_t>(pixel.oh * p.stride_height);
        const auto w = static_cast<int32_t>(pixel.ow * p.stride_width);
        const T* corner = group_input + ((pixel.n * p.in_height + h) * p.in_width + w) * p.in_channels;
        for (int r = 0; r < kRows; ++r) {
          if (static_cast<uint32_t>(h + taps[r].h) < in_height && static_cast<uint32_t>(w + taps[r].w) < in_width) {
            chain[r] += Widen(corner[taps[r].offset]) * gradient;
          }
        }
        Advance(p, kLanes, &pixel);
      }
      for (int r = 0; r < kRows; ++r) total[r] += chain[r];
    }
  }
  for (int r = 0; r < kRows; ++r) shared->sums[lane][r][thread % kChannels] = total[r];
}

// Adds up the lanes, and writes the slice's [filter rows, out channels].
template <typename T>
WGRAD_DEVICE void Combine(const Problem& p, const Tile& tile, const Shared<T>& shared, int thread,
                          Accumulator<T>* slices) {
  Accumulator<T>* slice = slices + tile.slice * FilterRows(p) * p.out_channels;
  for (int i = thread; i < kRows * kChannels; i += kThreads) {
    const int64_t row = tile.row + i / kChannels;
    const int64_t channel = tile.channel + i % kChannels;
    if (row >= FilterRows(p) || channel >= p.out_channels) continue;
    Accumulator<T> sum = 0;
    for (int lane = 0; lane < kLanes; ++lane) sum += shared.sums[lane][i / kChannels][i % kChannels];
    slice[row * p.out_channels + channel] = sum;
  }
}

// Writes slices [slices][filter rows][out channels].
template <typename T>
struct SlicesKernel {
  using Shared = depthwise::Shared<T>;

  Problem p;
  const T* input;
  const T* out_backprop;
  int64_t slice_count;
  Accumulator<T>* slices;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return Tiles(p) * slice_count; }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const Tile tile = TileAt(p, block);
    const Range pixels = SliceOf(Pixels(p), slice_count, tile.slice);
    ForEachThread([&](int thread) { Accumulate(p, tile, pixels, input, out_backprop, thread, shared); });
    ForEachThread([&](int thread) { Combine(p, tile, *shared, thread, slices); });
  }
};

}  // namespace wgrad::cuda::depthwise

#endif  // TF_OPS_WGRAD_CUDA_DEPTHWISE_H_
