// The wgmma kernel's blocks. One thread asks the tensor memory accelerator for the panels of one stage of shared memory
// after the other, in tf32 some warps transpose those of dY, one to three warpgroups multiply, and barriers of each
// stage keep them apart.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_

#include <cuda.h>

#include <utility>

#include "cute/arch/copy_sm90_tma.hpp"
#include "cute/arch/mma_sm90_gmma.hpp"
#include "cutlass/arch/barrier.h"
#include "tf_ops/wgrad/cuda/wgmma_cluster.h"
#include "tf_ops/wgrad/cuda/wgmma_strip.h"
#include "tf_ops/wgrad/cuda/wgmma_tf32.h"
#include "tf_ops/wgrad/cuda/wgmma_tile.h"

namespace wgrad::cuda::wgmma {

// The multiplication of a band of filter rows by 64 to 256 out channels.
template <DataType dtype, int channels>
struct Instruction;

#define WGRAD_INSTRUCTION(channels)                                                                                  \
  template <>                                                                                                        \
  struct Instruction<DataType::kFloat32, channels> : cute::SM90::GMMA::MMA_64x##channels##x8_F32TF32TF32_RS_TN<> {}; \
  template <>                                                                                                        \
  struct Instruction<DataType::kFloat16, channels>                                                                   \
      : cute::SM90::GMMA::MMA_64x##channels##x16_F32F16F16_SS<cute::SM90::GMMA::Major::MN,                           \
                                                              cute::SM90::GMMA::Major::MN> {};                       \
  template <>                                                                                                        \
  struct Instruction<DataType::kBFloat16, channels>                                                                  \
      : cute::SM90::GMMA::MMA_64x##channels##x16_F32BF16BF16_SS<cute::SM90::GMMA::Major::MN,                         \
                                                                cute::SM90::GMMA::Major::MN> {};
WGRAD_INSTRUCTION(64)
WGRAD_INSTRUCTION(128)
WGRAD_INSTRUCTION(256)
#undef WGRAD_INSTRUCTION

using FullBarrier = cutlass::arch::ClusterTransactionBarrier;
using ArrivalBarrier = cutlass::arch::ClusterBarrier;

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
// rows of 128 bytes are 1024 bytes, the next elements of a row a panel further on. (What is transposed has all pixels
// of a step in one row, and the next eight channels 1024 bytes further on.)
template <typename Tile>
__device__ inline uint64_t Descriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  return kSwizzle128 | uint64_t{1024 >> 4} << 32 | uint64_t{Tile::kPanelBytes >> 4} << 16 | (address & 0x3ffff) >> 4;
}

template <typename Instruction, size_t count, size_t... index>
__device__ inline void Multiply(uint64_t rows, uint64_t channels, float (&sums)[count], std::index_sequence<index...>) {
  Instruction::fma(rows, channels, sums[index]...);
}

template <typename Instruction, size_t count, size_t... index>
__device__ inline void Multiply(const Fragment& rows, uint64_t channels, float (&sums)[count],
                                std::index_sequence<index...>) {
  Instruction::fma(__float_as_uint(rows.near.x), __float_as_uint(rows.near.y), __float_as_uint(rows.far.x),
                   __float_as_uint(rows.far.y), channels, sums[index]...);
}

template <size_t count>
__device__ inline void FenceSums(float (&sums)[count]) {
#pragma unroll
  for (float& sum : sums) cute::warpgroup_fence_operand(sum);
}

template <typename Tile, Finish finish>
struct Block {
  const Arguments& a;
  char* shared;
  uint32_t panels;  // its address in shared memory
  FullBarrier* full;
  ArrivalBarrier *transposed, *empty;
  Cluster<Tile> cluster;

  // One thread's work: it asks the accelerator for the panels of one stage after the other. Blocks of a cluster that
  // share panels, each loading a part for two or four of them (multicast), were no faster on an H100.
  __device__ void Load(const CUtensorMap& input, const CUtensorMap& out_backprop) const {
    Ring<Tile::kStages> ring;
    for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
      LoadItem(ItemAt<Tile>(a, index), input, out_backprop, &ring);
    }
  }

  __device__ void LoadItem(const Item& item, const CUtensorMap& input, const CUtensorMap& out_backprop,
                           Ring<Tile::kStages>* ring) const {
    int in_channels[Tile::kRowPanels];
    uint16_t right[Tile::kRowPanels], down[Tile::kRowPanels];
    int count = 0;
#pragma unroll
    for (int i = 0; i < Tile::kRowPanels; ++i) {
      const RowPanel rows = RowPanelAt<Tile>(a, item.first_panel + i);
      in_channels[i] = item.group * a.channels + rows.channel;
      down[i] = static_cast<uint16_t>(rows.tap / a.filter_width * a.dilation_height);
      right[i] = static_cast<uint16_t>(rows.tap % a.filter_width * a.dilation_width);
      count += item.first_panel + i < a.row_panels;
    }
    const uint32_t bytes = (count + Tile::kPanels - Tile::kRowPanels) * Tile::kPanelBytes;
    const int out_channel = item.group * a.group_out_channels + item.first_channel;
    for (int step = item.first_step; step < item.end_step; ++step, ring->Next()) {
      const int pixel = step * Tile::kPixels;
      int row, ow, n, oh;
      a.out_width(row, ow, pixel);
      a.out_height(n, oh, row);
      const int h = oh * a.stride_height - a.pad_top;
      const int w = ow * a.stride_width - a.pad_left;
      empty[ring->stage].wait(ring->parity ^ 1);
      full[ring->stage].arrive_and_expect_tx(bytes);
      uint64_t* barrier = reinterpret_cast<uint64_t*>(&full[ring->stage]);
      char* target = shared + ring->stage * Tile::kStageBytes;
#pragma unroll
      for (int i = 0; i < Tile::kRowPanels; ++i, target += Tile::kPanelBytes) {
        if (item.first_panel + i >= a.row_panels) continue;
        cute::SM90_TMA_LOAD_IM2COL_4D::copy(&input, barrier, target, in_channels[i], w, h, n, right[i], down[i]);
      }
#pragma unroll
      for (int i = 0; i < Tile::kChannelPanels; ++i, target += Tile::kPanelBytes) {
        constexpr uint64_t kNoHint = static_cast<uint64_t>(cute::TMA::CacheHintSm90::EVICT_NORMAL);
        cute::SM90_TMA_LOAD_2D::copy(&out_backprop, barrier, kNoHint, target, out_channel + i * Tile::kPanel, pixel);
      }
    }
  }

  // A warpgroup's work: multiplies its panels of filter rows by all channels of the tile.
  __device__ void MultiplyAndStore(int warpgroup, const Repair<typename Tile::Element>& repair) const {
    Ring<Tile::kStages> ring;
    bool sound = true;
    for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
      const Item item = ItemAt<Tile>(a, index);
      float sums[Tile::kBandsEach][Tile::kChannels / 2] = {};
      if constexpr (Tile::kTransposes) {
        MultiplyFromRegisters(item, warpgroup, &ring, sums);
      } else {
        MultiplyFromShared(item, warpgroup, &ring, sums);
      }
      if constexpr (finish == Finish::kCluster) cluster.AwaitStages();
#pragma unroll
      for (int i = 0; i < Tile::kStrips; ++i) {
        const StripSums strip = StripOf<Tile>(sums, i);
        if constexpr (finish == Finish::kCluster) {
          cluster.Put(i, strip);
        } else if constexpr (finish == Finish::kSlices) {
          StoreSums(a, item.slice, StripAt<Tile>(a, item, warpgroup, i), strip);
        } else {
          sound &= StoreRounded<typename Tile::Element>(a, StripAt<Tile>(a, item, warpgroup, i), strip);
        }
      }
    }
    // Apart from the stores, among which a call would cost registers.
    if (sound) return;
    for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
      const Item item = ItemAt<Tile>(a, index);
#pragma unroll 1
      for (int i = 0; i < Tile::kStrips; ++i) RepairStrip(a, StripAt<Tile>(a, item, warpgroup, i), repair);
    }
  }

  __device__ void MultiplyFromShared(const Item& item, int warpgroup, Ring<Tile::kStages>* ring,
                                     float (&sums)[Tile::kBandsEach][Tile::kChannels / 2]) const {
    using Operation = Instruction<Tile::kInstance.dtype, Tile::kChannels>;
    constexpr int kInstruction = 16;  // pixels
    constexpr int kInstructionBytes = kInstruction * kPanelRowBytes;
    constexpr auto kIndices = std::make_index_sequence<Tile::kChannels / 2>();
    int previous = 0;
    for (int step = item.first_step; step < item.end_step; ++step, ring->Next()) {
      full[ring->stage].wait(ring->parity);
      const uint32_t stage = panels + ring->stage * Tile::kStageBytes;
#pragma unroll
      for (auto& each : sums) FenceSums(each);
      cute::warpgroup_arrive();
#pragma unroll
      for (int j = 0; j < Tile::kPixels / kInstruction; ++j) {
        const uint32_t first = stage + j * kInstructionBytes;
        const uint64_t channels = Descriptor<Tile>(first + Tile::kRowPanels * Tile::kPanelBytes);
#pragma unroll
        for (int i = 0; i < Tile::kBandsEach; ++i) {
          const int panel = warpgroup * Tile::kBandsEach + i;
          Multiply<Operation>(Descriptor<Tile>(first + panel * Tile::kPanelBytes), channels, sums[i], kIndices);
        }
      }
      cute::warpgroup_commit_batch();
      // The step before is done: its stage can be filled again.
      cute::warpgroup_wait<1>();
#pragma unroll
      for (auto& each : sums) FenceSums(each);
      if (step > item.first_step) Release(previous);
      previous = ring->stage;
    }
    cute::warpgroup_wait<0>();
#pragma unroll
    for (auto& each : sums) FenceSums(each);
    if (item.first_step < item.end_step) Release(previous);
  }

  // Each warp reads its rows itself, those of the next instruction while up to three others are at work.
  __device__ void MultiplyFromRegisters(const Item& item, int warpgroup, Ring<Tile::kStages>* ring,
                                        float (&sums)[Tile::kBandsEach][Tile::kChannels / 2]) const {
    using Operation = Instruction<Tile::kInstance.dtype, Tile::kChannels>;
    constexpr int kInstruction = 8;  // pixels
    constexpr int kInstructions = Tile::kPixels / kInstruction * Tile::kBandsEach;
    constexpr int kInFlight = 2, kSlots = kInFlight + 2;
    static_assert(kInstructions % kSlots == 0, "each step begins with the same slot");
    constexpr auto kIndices = std::make_index_sequence<Tile::kChannels / 2>();
    constexpr int kBandBytes = Tile::kBandPanels * Tile::kPanelBytes;
    if (item.first_step >= item.end_step) return;
    const int thread = threadIdx.x % kWarpgroup;
    const char* first_panel =
        shared + warpgroup * Tile::kBandsEach * kBandBytes + PanelOfRows(thread) * Tile::kPanelBytes;
    Fragment rows[kSlots];
    const auto load = [&](int stage, int i) {
      const int band = i % Tile::kBandsEach, pixels = i / Tile::kBandsEach * kInstruction;
      rows[i % kSlots] =
          Fragment::At(first_panel + stage * Tile::kStageBytes + band * kBandBytes + pixels * kPanelRowBytes, thread);
    };
    Await(*ring);
    load(ring->stage, 0);
    int previous = 0;
#pragma unroll
    for (auto& each : sums) FenceSums(each);
    for (int step = item.first_step; step < item.end_step; ++step) {
      const int stage = ring->stage;
      ring->Next();
#pragma unroll
      for (int i = 0; i < kInstructions; ++i) {
        if (i + 1 < kInstructions) {
          load(stage, i + 1);
        } else if (step + 1 < item.end_step) {
          Await(*ring);
          load(ring->stage, 0);
        }
        const int pixels = i / Tile::kBandsEach * kInstruction;
        const uint64_t channels =
            Descriptor<Tile>(panels + stage * Tile::kStageBytes + Tile::kRowPanels * Tile::kPanelBytes +
                             pixels * static_cast<int>(sizeof(float)));
        cute::warpgroup_arrive();
        Multiply<Operation>(rows[i % kSlots], channels, sums[i % Tile::kBandsEach], kIndices);
        cute::warpgroup_commit_batch();
        cute::warpgroup_wait<kInFlight>();
        if (i == kInFlight - 1 && step > item.first_step) Release(previous);
      }
      previous = stage;
    }
    cute::warpgroup_wait<0>();
#pragma unroll
    for (auto& each : sums) FenceSums(each);
    Release(previous);
  }

  __device__ void Await(const Ring<Tile::kStages>& ring) const {
    full[ring.stage].wait(ring.parity);
    transposed[ring.stage].wait(ring.parity);
  }

  // The work of the warps between the two, each of which has some panels of dY.
  __device__ void Transpose(int warp) const {
    Ring<Tile::kStages> ring;
    const int lane = threadIdx.x % 32;
    for (int index = blockIdx.x; index < a.items; index += gridDim.x) {
      const Item item = ItemAt<Tile>(a, index);
      for (int step = item.first_step; step < item.end_step; ++step, ring.Next()) {
        full[ring.stage].wait(ring.parity);
        char* own = shared + ring.stage * Tile::kStageBytes + (Tile::kRowPanels + warp) * Tile::kPanelBytes;
#pragma unroll
        for (int i = 0; i < Tile::kChannelPanels; i += Tile::kTransposers) {
          TransposePanel(own + i * Tile::kPanelBytes, lane);
        }
        cutlass::arch::fence_view_async_shared();
        __syncwarp();
        if (lane == 0) transposed[ring.stage].arrive();
      }
    }
  }

  // Once the instructions of a warpgroup have read the stage, one of its threads says so. What warps read themselves,
  // each of them says.
  __device__ void Release(int stage) const {
    if constexpr (Tile::kTransposes) __syncwarp();
    if (threadIdx.x % (Tile::kTransposes ? 32 : kWarpgroup) == 0) empty[stage].arrive();
  }
};

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_BLOCK_H_
