// What a thread of the wgmma kernel stores: strips of 32 out channels of one filter row, which a quad of threads share.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_STRIP_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_STRIP_H_

#include "tf_ops/wgrad/cuda/repair.h"
#include "tf_ops/wgrad/cuda/wgmma_tile.h"

namespace wgrad::cuda::wgmma {

// A thread's part: four pairs of channels, eight channels apart. Between them are the pairs of the quad's others.
struct StripSums {
  float values[8];

  __device__ void operator+=(const StripSums& other) {
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] += other.values[i];
  }
};

// Where a strip goes: the index of its filter row's first element, negative where there is no such row, and its first
// channel, counted within the group.
struct Strip {
  int64_t row;
  int channel;
};

// Strips of a band: those of one row of the product follow each other, and then those of the row eight below.
template <typename Tile>
struct StripIndex {
  static constexpr int kOfRow = Tile::kChannels / 32;
  int band, half, column;

  __device__ explicit StripIndex(int index)
      : band(index / (2 * kOfRow)), half(index / kOfRow % 2), column(index % kOfRow) {}
};

// Sums 4 j and 4 j + 1 of a thread are neighbours in one row, 4 j + 2 and 4 j + 3 those eight rows below.
template <typename Tile>
__device__ inline StripSums StripOf(const float (&sums)[Tile::kBandsEach][Tile::kChannels / 2], int index) {
  const StripIndex<Tile> at(index);
  StripSums strip;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    strip.values[i] = sums[at.band][4 * (4 * at.column + i / 2) + 2 * at.half + i % 2];
  }
  return strip;
}

// The filter row that a thread's row of the product is, or the row eight below: the panel of the band, and the channel.
struct BandRow {
  int panel, channel;
};

template <typename Tile>
__device__ inline BandRow BandRowOf(int thread, int half) {
  if constexpr (Tile::kTransposes) return {PanelOfRows(thread), FirstOfRows(thread) + half};
  return {0, thread / 32 * 16 + thread % 32 / 4 + half * 8};
}

template <typename Tile>
__device__ inline Strip StripAt(const Arguments& a, const Item& item, int warpgroup, int index) {
  const StripIndex<Tile> at(index);
  const BandRow row = BandRowOf<Tile>(threadIdx.x % kWarpgroup, at.half);
  const int panel = item.first_panel + (warpgroup * Tile::kBandsEach + at.band) * Tile::kBandPanels + row.panel;
  const RowPanel rows = RowPanelAt<Tile>(a, panel);
  const int channel = rows.channel + row.channel;
  const int first_channel = item.first_channel + at.column * 32;
  if (panel >= a.row_panels || channel >= a.channels) return {-1, first_channel};
  return {(int64_t{rows.tap} * a.channels + channel) * a.out_channels + item.group * a.group_out_channels,
          first_channel};
}

// To a slice.
__device__ inline void StoreSums(const Arguments& a, int64_t slice, const Strip& strip, const StripSums& sums) {
  if (strip.row < 0) return;
  float* row = a.slices + slice * a.filter_rows * a.out_channels + strip.row;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int channel = strip.channel + j * 8 + threadIdx.x % 4 * 2;
    if (channel < a.group_out_channels) {
      *reinterpret_cast<float2*>(row + channel) = make_float2(sums.values[2 * j], sums.values[2 * j + 1]);
    }
  }
}

// Thread i's word j becomes thread j's word i.
__device__ inline void TransposeQuad(uint32_t (&words)[4]) {
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t other = __shfl_xor_sync(~0u, odd ? words[j] : words[j + 1], 1);
    (odd ? words[j] : words[j + 1]) = other;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t other = __shfl_xor_sync(~0u, high ? words[j] : words[j + 2], 2);
    (high ? words[j] : words[j + 2]) = other;
  }
}

// What a thread writes of a strip once the quad has exchanged its pairs: up to eight elements side by side.
struct Run {
  int64_t first;
  int count;  // a multiple of the 16 bytes of a store; none, where it is not positive
};

__device__ inline Run RunOf(const Arguments& a, const Strip& strip) {
  const int channel = strip.channel + threadIdx.x % 4 * 8;
  return {strip.row + channel, strip.row < 0 ? 0 : min(8, a.group_out_channels - channel)};
}

// The run's values, after the quad's exchange.
__device__ inline Pack<float, 8> Exchanged(const StripSums& sums, float) {
  uint32_t low[4], high[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    low[j] = __float_as_uint(sums.values[2 * j]);
    high[j] = __float_as_uint(sums.values[2 * j + 1]);
  }
  TransposeQuad(low);
  TransposeQuad(high);
  Pack<float, 8> values;
#pragma unroll
  for (int j = 0; j < 8; ++j) values.values[j] = __uint_as_float(j % 2 ? high[j / 2] : low[j / 2]);
  return values;
}

template <typename Element>
__device__ inline Pack<Element, 8> Exchanged(const StripSums& sums, Element) {
  uint32_t words[4];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const auto pair = Round<Element>(Pack<float, 2>{{sums.values[2 * j], sums.values[2 * j + 1]}});
    words[j] = pair.values[0].bits | uint32_t{pair.values[1].bits} << 16;
  }
  TransposeQuad(words);
  Pack<Element, 8> values;
#pragma unroll
  for (int j = 0; j < 8; ++j) values.values[j].bits = static_cast<uint16_t>(words[j / 2] >> j % 2 * 16);
  return values;
}

// To the filter gradient; returns whether what the thread wrote is sound. With stores of 4 bytes, without the quad's
// exchange, a 3x3 layer took 25 us on an H100, with these 21.
template <typename Element>
__device__ inline bool StoreRounded(const Arguments& a, const Strip& strip, const StripSums& sums) {
  constexpr int kWidth = 16 / sizeof(Element);
  using Store = Pack<Element, kWidth>;
  const Pack<Element, 8> values = Exchanged(sums, Element());
  const Run run = RunOf(a, strip);
  bool sound = true;
#pragma unroll
  for (int i = 0; i < 8; i += kWidth) {
    if (i >= run.count) continue;
    Store store;
#pragma unroll
    for (int j = 0; j < kWidth; ++j) store.values[j] = values.values[i + j];
    *reinterpret_cast<Store*>(static_cast<Element*>(a.filter_backprop) + run.first + i) = store;
    sound &= IsSound(store);
  }
  return sound;
}

template <typename Element>
__device__ inline void RepairStrip(const Arguments& a, const Strip& strip, const Repair<Element>& repair) {
  const Run run = RunOf(a, strip);
  if (run.count > 0) repair(run.first, run.count);
}

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_STRIP_H_
