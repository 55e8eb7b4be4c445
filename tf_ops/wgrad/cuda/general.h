// Any problem at all: a blocked matrix product that gathers from X and dY through strides. A block owns a tile of
// [filter rows, out channels of one group] and walks over a slice of the pixels. A tap outside X is left out of the
// sum, not multiplied by zero, so that Inf and NaN in dY spread no further than the definition says.
#ifndef TF_OPS_WGRAD_CUDA_GENERAL_H_
#define TF_OPS_WGRAD_CUDA_GENERAL_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/launch.h"

namespace wgrad::cuda::general {

inline constexpr int kTile = 64;   // rows and channels of a block
inline constexpr int kDepth = 16;  // pixels in shared memory at once
inline constexpr int kSide = 16;   // threads are 16 x 16, each with 4 x 4 sums
inline constexpr int kPerThread = kTile / kSide;
// Pixels summed in one chain before the chain is added to the total: the error of a float32 sum grows with the root of
// its length, 512 keeps it under 5e-7.
inline constexpr int kChain = 512;

// What a block works on.
struct Tile {
  int64_t group, row, channel;  // first filter row, and first out channel counted within the group
  int64_t slice;
};

WGRAD_HOST_DEVICE int64_t RowTiles(const Problem& p) { return CeilDiv(FilterRows(p), kTile); }
WGRAD_HOST_DEVICE int64_t ChannelTiles(const Problem& p) { return CeilDiv(p.out_channels / p.groups, kTile); }
WGRAD_HOST_DEVICE int64_t Tiles(const Problem& p) { return RowTiles(p) * ChannelTiles(p) * p.groups; }

WGRAD_HOST_DEVICE Tile TileAt(const Problem& p, int64_t block) {
  const int64_t channel = block % ChannelTiles(p);
  block /= ChannelTiles(p);
  const int64_t row = block % RowTiles(p);
  block /= RowTiles(p);
  return {block % p.groups, row * kTile, channel * kTile, block / p.groups};
}

template <typename T>
struct Shared {
  Pixel pixels[kDepth];
  Accumulator<T> input[kDepth][kTile];
  Accumulator<T> out_backprop[kDepth][kTile];
  bool inside[kDepth][kTile];
};

template <typename T>
struct Thread {
  Tap tap;  // of the filter row that this thread loads
  Accumulator<T> chain[kPerThread][kPerThread];
  Accumulator<T> total[kPerThread][kPerThread];
};

template <typename T>
WGRAD_DEVICE void Start(const Problem& p, const Tile& tile, int thread, Thread<T>* state) {
  *state = {};
  const int64_t row = tile.row + thread % kTile;
  if (row < FilterRows(p)) state->tap = TapAt(p, row);
}

template <typename T>
WGRAD_DEVICE void LocatePixels(const Problem& p, int64_t first, int thread, Shared<T>* shared) {
  if (thread < kDepth) shared->pixels[thread] = PixelAt(p, first + thread);
}

template <typename T>
WGRAD_DEVICE void Load(const Problem& p, const Tile& tile, const T* input, const T* out_backprop, int64_t first,
                       int64_t end, int thread, const Thread<T>& state, Shared<T>* shared) {
  const Strides x = InputStrides(p);
  const Strides dy = OutputStrides(p);
  const int64_t group_channels = p.out_channels / p.groups;
  const int column = thread % kTile;
  const int64_t channel = tile.channel + column;
  const bool row_exists = tile.row + column < FilterRows(p);
  for (int depth = thread / kTile; depth < kDepth; depth += kThreads / kTile) {
    const bool pixel_exists = first + depth < end;
    const Pixel pixel = shared->pixels[depth];
    const int64_t h = pixel.oh * p.stride_height + state.tap.h;
    const int64_t w = pixel.ow * p.stride_width + state.tap.w;
    const bool inside = pixel_exists && row_exists && InsideInput(p, h, w);
    shared->inside[depth][column] = inside;
    shared->input[depth][column] =
        inside
            ? Widen(
                  input[pixel.n * x.n + h * x.h + w * x.w + (tile.group * p.filter_channels + state.tap.channel) * x.c])
            : Accumulator<T>(0);
    shared->out_backprop[depth][column] = pixel_exists && channel < group_channels
                                              ? Widen(out_backprop[pixel.n * dy.n + pixel.oh * dy.h + pixel.ow * dy.w +
                                                                   (tile.group * group_channels + channel) * dy.c])
                                              : Accumulator<T>(0);
  }
}

template <typename T>
WGRAD_DEVICE void Multiply(const Shared<T>& shared, int thread, Thread<T>* state) {
  const int row = thread / kSide;
  const int channel = thread % kSide;
  for (int depth = 0; depth < kDepth; ++depth) {
    for (int i = 0; i < kPerThread; ++i) {
      if (!shared.inside[depth][row + i * kSide]) continue;
      for (int j = 0; j < kPerThread; ++j) {
        state->chain[i][j] += shared.input[depth][row + i * kSide] * shared.out_backprop[depth][channel + j * kSide];
      }
    }
  }
}

template <typename T>
WGRAD_DEVICE void CloseChain(Thread<T>* state) {
  for (int i = 0; i < kPerThread; ++i) {
    for (int j = 0; j < kPerThread; ++j) {
      state->total[i][j] += state->chain[i][j];
      state->chain[i][j] = 0;
    }
  }
}

// Adds `pixels` to the totals of the threads.
template <typename T>
WGRAD_DEVICE void AddPixels(const Problem& p, const Tile& tile, Range pixels, const T* input, const T* out_backprop,
                            Shared<T>* shared, PerThread<Thread<T>>* states) {
  int64_t chain_end = pixels.begin + kChain;
  for (int64_t first = pixels.begin; first < pixels.end; first += kDepth) {
    ForEachThread([&](int thread) { LocatePixels(p, first, thread, shared); });
    ForEachThread(
        [&](int thread) { Load(p, tile, input, out_backprop, first, pixels.end, thread, (*states)[thread], shared); });
    const bool close = first + kDepth >= chain_end || first + kDepth >= pixels.end;
    ForEachThread([&](int thread) {
      Multiply(*shared, thread, &(*states)[thread]);
      if (close) CloseChain(&(*states)[thread]);
    });
    if (close) chain_end += kChain;
  }
}

// Calls visit(i, j, HWIO index) for each of the thread's sums that exists.
template <typename Visitor>
WGRAD_DEVICE void VisitSums(const Problem& p, const Tile& tile, int thread, Visitor visit) {
  const int64_t group_channels = p.out_channels / p.groups;
  for (int i = 0; i < kPerThread; ++i) {
    for (int j = 0; j < kPerThread; ++j) {
      const int64_t row = tile.row + thread / kSide + i * kSide;
      const int64_t channel = tile.channel + thread % kSide + j * kSide;
      if (row < FilterRows(p) && channel < group_channels) {
        visit(i, j, row * p.out_channels + tile.group * group_channels + channel);
      }
    }
  }
}

// Writes slices [slices][filter rows][out channels].
template <typename T>
struct SlicesKernel {
  using Shared = general::Shared<T>;

  Problem p;
  const T* input;
  const T* out_backprop;
  int64_t slice_count;
  Accumulator<T>* slices;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return Tiles(p) * slice_count; }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const Tile tile = TileAt(p, block);
    PerThread<Thread<T>> states;
    ForEachThread([&](int thread) { Start(p, tile, thread, &states[thread]); });
    AddPixels(p, tile, SliceOf(Pixels(p), slice_count, tile.slice), input, out_backprop, shared, &states);
    Accumulator<T>* slice = slices + tile.slice * FilterRows(p) * p.out_channels;
    ForEachThread([&](int thread) {
      VisitSums(p, tile, thread, [&](int i, int j, int64_t index) { slice[index] = states[thread].total[i][j]; });
    });
  }
};

}  // namespace wgrad::cuda::general

#endif  // TF_OPS_WGRAD_CUDA_GENERAL_H_
