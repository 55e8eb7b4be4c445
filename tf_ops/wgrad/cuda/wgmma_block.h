// The wgmma kernel's blocks. One thread asks the tensor memory accelerator for the panels of one stage of shared memory
// after the other, one or two warpgroups multiply them, and barriers of each stage keep the two apart.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_

#include <cuda.h>

#include <utility>

#include "cute/arch/copy_sm90_tma.hpp"
#include "cute/arch/mma_sm90_gmma.hpp"
#include "cutlass/arch/barrier.h"
#include "tf_ops/wgrad/cuda/pack.h"
#include "tf_ops/wgrad/cuda/wgmma_tile.h"

namespace wgrad::cuda::wgmma {

inline constexpr int kInstruction = 16;  // pixels that one instruction multiplies

// The multiplication of 64 filter rows by 64 to 256 out channels.
template <DataType dtype, int channels>
struct Instruction;

#define WGRAD_INSTRUCTION(channels)                                                            \
  template <>                                                                                  \
  struct Instruction<DataType::kFloat16, channels>                                             \
      : cute::SM90::GMMA::MMA_64x##channels##x16_F32F16F16_SS<cute::SM90::GMMA::Major::MN,     \
                                                              cute::SM90::GMMA::Major::MN> {}; \
  template <>                                                                                  \
  struct Instruction<DataType::kBFloat16, channels>                                            \
      : cute::SM90::GMMA::MMA_64x##channels##x16_F32BF16BF16_SS<cute::SM90::GMMA::Major::MN,   \
                                                                cute::SM90::GMMA::Major::MN> {};
WGRAD_INSTRUCTION(64)
WGRAD_INSTRUCTION(128)
WGRAD_INSTRUCTION(256)
#undef WGRAD_INSTRUCTION

using FullBarrier = cutlass::arch::ClusterTransactionBarrier;
using EmptyBarrier = cutlass::arch::ClusterBarrier;

// The position in the ring of stages, and the parity of its barriers.
template <int stages>
struct Ring {
  int stage = 0;
  uint32_t parity = 0;

  __device__ void Next() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Of panels that follow each other in shared memory, of which the first instruction's pixels begin at `address`: eight
// rows of 128 bytes are 1024 bytes, the next 64 elements a panel further on.
__device__ inline uint64_t Descriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{1024 >> 4} << 32 | uint64_t{kPanelBytes >> 4} << 16 | (address & 0x3ffff) >> 4;
}

template <typename Instruction, size_t count, size_t... index>
__device__ inline void Multiply(uint64_t rows, uint64_t channels, float (&sums)[count], std::index_sequence<index...>) {
  Instruction::fma(rows, channels, sums[index]...);
}

template <size_t count>
__device__ inline void FenceSums(float (&sums)[count]) {
#pragma unroll
  for (float& sum : sums) cute::warpgroup_fence_operand(sum);
}

template <typename Tile>
struct Block {
  const Arguments& a;
  uint32_t panels;  // address in shared memory
  FullBarrier* full;
  EmptyBarrier* empty;

  // One thread's work: it asks the accelerator for the panels of one stage after the other.
  __device__ void Load(const CUtensorMap& input, const CUtensorMap& out_backprop, char* shared) const {
    Ring<Tile::kStages> ring;
    for (int64_t index = blockIdx.x; index < a.items; index += gridDim.x) {
      LoadItem(ItemAt<Tile>(a, index), input, out_backprop, shared, &ring);
    }
  }

  __device__ void LoadItem(const Item& item, const CUtensorMap& input, const CUtensorMap& out_backprop, char* shared,
                           Ring<Tile::kStages>* ring) const {
    RowPanel rows[Tile::kRowPanels];
    int offset_w[Tile::kRowPanels], offset_h[Tile::kRowPanels];
    int count = 0;
#pragma unroll
    for (int i = 0; i < Tile::kRowPanels; ++i) {
      rows[i] = RowPanelAt(a, item.first_panel + i);
      offset_h[i] = rows[i].tap / a.filter_width * a.dilation_height;
      offset_w[i] = rows[i].tap % a.filter_width * a.dilation_width;
      count += item.first_panel + i < a.row_panels;
    }
    const uint32_t bytes = (count + Tile::kPanels - Tile::kRowPanels) * kPanelBytes;
    for (int64_t step = item.steps.begin; step < item.steps.end; ++step, ring->Next()) {
      empty[ring->stage].wait(ring->parity ^ 1);
      full[ring->stage].arrive_and_expect_tx(bytes);
      uint64_t* barrier = reinterpret_cast<uint64_t*>(&full[ring->stage]);
      char* target = shared + ring->stage * Tile::kStageBytes;
      const int pixel = static_cast<int>(step * kPixels);
      int row, ow, n, oh;
      a.out_width(row, ow, pixel);
      a.out_height(n, oh, row);
      const int h = oh * a.stride_height - a.pad_top;
      const int w = ow * a.stride_width - a.pad_left;
#pragma unroll
      for (int i = 0; i < Tile::kRowPanels; ++i) {
        if (item.first_panel + i >= a.row_panels) continue;
        cute::SM90_TMA_LOAD_IM2COL_4D::copy(&input, barrier, target + i * kPanelBytes,
                                            item.group * a.channels + rows[i].channel, w, h, n,
                                            static_cast<uint16_t>(offset_w[i]), static_cast<uint16_t>(offset_h[i]));
      }
#pragma unroll
      for (int i = 0; i < Tile::kChannels / kPanel; ++i) {
        constexpr uint64_t kNoHint = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_NORMAL);
        cute::SM90_TMA_LOAD_2D::copy(&out_backprop, barrier, kNoHint, target + (Tile::kRowPanels + i) * kPanelBytes,
                                     item.group * a.group_out_channels + item.first_channel + i * kPanel, pixel);
      }
    }
  }

  // A warpgroup's work: multiplies its panels of filter rows by all channels of the tile. Returns whether what it wrote
  // of the filter gradient is sound.
  __device__ bool MultiplyAndStore(int warpgroup) const {
    Ring<Tile::kStages> ring;
    bool sound = true;
    for (int64_t index = blockIdx.x; index < a.items; index += gridDim.x) {
      const Item item = ItemAt<Tile>(a, index);
      float sums[Tile::kPanelsEach][Tile::kChannels / 2] = {};
      MultiplyItem(item, warpgroup, &ring, sums);
#pragma unroll
      for (int i = 0; i < Tile::kPanelsEach; ++i) {
        sound &= Store(item, item.first_panel + warpgroup * Tile::kPanelsEach + i, sums[i]);
      }
    }
    return sound;
  }

  __device__ void MultiplyItem(const Item& item, int warpgroup, Ring<Tile::kStages>* ring,
                               float (&sums)[Tile::kPanelsEach][Tile::kChannels / 2]) const {
    using Operation = Instruction<Tile::kInstance.dtype, Tile::kChannels>;
    constexpr auto kIndices = std::make_index_sequence<Tile::kChannels / 2>();
    int previous = 0;
    for (int64_t step = item.steps.begin; step < item.steps.end; ++step, ring->Next()) {
      full[ring->stage].wait(ring->parity);
      const uint32_t stage = panels + ring->stage * Tile::kStageBytes;
#pragma unroll
      for (auto& each : sums) FenceSums(each);
      cute::warpgroup_arrive();
#pragma unroll
      for (int pixel = 0; pixel < kPixels; pixel += kInstruction) {
        const uint64_t channels = Descriptor(stage + Tile::kRowPanels * kPanelBytes + pixel * kPanel * 2);
#pragma unroll
        for (int i = 0; i < Tile::kPanelsEach; ++i) {
          const int panel = warpgroup * Tile::kPanelsEach + i;
          Multiply<Operation>(Descriptor(stage + panel * kPanelBytes + pixel * kPanel * 2), channels, sums[i],
                              kIndices);
        }
      }
      cute::warpgroup_commit_batch();
      // The step before is done: its stage can be filled again.
      cute::warpgroup_wait<1>();
#pragma unroll
      for (auto& each : sums) FenceSums(each);
      if (step > item.steps.begin) Release(previous);
      previous = ring->stage;
    }
    cute::warpgroup_wait<0>();
#pragma unroll
    for (auto& each : sums) FenceSums(each);
    if (item.steps.begin < item.steps.end) Release(previous);
  }

  __device__ void Release(int stage) const {
    if (threadIdx.x % kWarpgroup == 0) empty[stage].arrive();
  }

  // To the slice; or, of the only one, to the filter gradient. Sums 4 j and 4 j + 1 of a thread are neighbours in one
  // row, 4 j + 2 and 4 j + 3 those eight rows below.
  template <size_t count>
  __device__ bool Store(const Item& item, int panel, const float (&sums)[count]) const {
    bool sound = true;
    if (panel >= a.row_panels) return sound;
    const RowPanel rows = RowPanelAt(a, panel);
    const int thread = threadIdx.x % kWarpgroup;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int channel = rows.channel + thread / 32 * 16 + thread % 32 / 4 + half * 8;
      const bool exists = channel < a.channels;
      const int64_t row =
          (int64_t{rows.tap} * a.channels + channel) * a.out_channels + item.group * a.group_out_channels;
#pragma unroll
      for (int j = 0; j < static_cast<int>(count) / 4; j += 4) {
        if (a.filter_backprop != nullptr && a.slice_count == 1) {
          sound &= StoreRounded(row, item.first_channel + j * 8, exists, &sums[4 * j + 2 * half]);
        } else if (exists) {
          StoreSums(item.slice * a.filter_rows * a.out_channels + row, item.first_channel + j * 8,
                    &sums[4 * j + 2 * half]);
        }
      }
    }
    return sound;
  }

  // Four pairs of a thread, which lie 8 channels apart and whose neighbours the other three threads of the quad have.
  __device__ void StoreSums(int64_t row, int channel, const float* sums) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int own = channel + j * 8 + threadIdx.x % 4 * 2;
      if (own < a.group_out_channels) {
        *reinterpret_cast<float2*>(a.slices + row + own) = make_float2(sums[4 * j], sums[4 * j + 1]);
      }
    }
  }

  // The same, rounded. The quad exchanges its pairs, so that each thread stores 8 channels: with stores of 4 bytes a
  // 3x3 layer took 25 us on an H100, with these 21.
  __device__ bool StoreRounded(int64_t row, int channel, bool exists, const float* sums) const {
    using Element = typename Tile::Element;
    uint32_t words[4];
    bool sound = true;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto pair = Round<Element>(Pack<float, 2>{{sums[4 * j], sums[4 * j + 1]}});
      sound &= IsSound(pair);
      words[j] = pair.values[0].bits | uint32_t{pair.values[1].bits} << 16;
    }
    TransposeQuad(words);
    const int own = channel + threadIdx.x % 4 * 8;
    if (exists && own < a.group_out_channels) {
      *reinterpret_cast<uint4*>(static_cast<Element*>(a.filter_backprop) + row + own) =
          make_uint4(words[0], words[1], words[2], words[3]);
    }
    return sound || !exists;
  }

  // Thread i's word j becomes thread j's word i.
  __device__ static void TransposeQuad(uint32_t (&words)[4]) {
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
};

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_
