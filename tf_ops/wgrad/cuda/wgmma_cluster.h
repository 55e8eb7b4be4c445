// The sum of a tile's slices by the blocks of a cluster, each of which has one of them: every block leaves its sums in
// shared memory, reads a part of all the others' there, and writes that part of the filter gradient. Through slices in
// device memory, with all blocks waiting for one another, this took 6 us of a layer's 25 on an H100.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_CLUSTER_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_CLUSTER_H_

#include <cooperative_groups.h>

#include "cutlass/arch/barrier.h"
#include "tf_ops/wgrad/cuda/wgmma_strip.h"

namespace wgrad::cuda::wgmma {

template <typename Tile>
struct Cluster {
  static constexpr int kThreads = Tile::kWarpgroups * kWarpgroup;  // that multiply

  float4* sums;  // in shared memory, where the stages were

  // Once all warpgroups have multiplied what is there.
  __device__ void AwaitStages() const { cutlass::arch::NamedBarrier::sync(kThreads, 0); }

  __device__ void Put(int index, const StripSums& strip) const {
    float4* target = sums + 2 * index * kThreads + threadIdx.x;
    target[0] = make_float4(strip.values[0], strip.values[1], strip.values[2], strip.values[3]);
    target[kThreads] = make_float4(strip.values[4], strip.values[5], strip.values[6], strip.values[7]);
  }

  // By all threads of all blocks.
  __device__ void SumAndStore(const Arguments& a, int warpgroup, const Repair<typename Tile::Element>& repair) const {
    const auto cluster = cooperative_groups::this_cluster();
    const int rank = static_cast<int>(cluster.block_rank());
    const Item item = ItemAt<Tile>(a, blockIdx.x);
    bool sound = true;
    cluster.sync();
    if (warpgroup < Tile::kWarpgroups) {
#pragma unroll 1
      for (int i = rank; i < Tile::kStrips; i += a.cluster_size) {
        sound &= StoreRounded<typename Tile::Element>(a, StripAt<Tile>(a, item, warpgroup, i), SumAt(a, i));
      }
    }
    cluster.sync();  // the others have read this block's sums
    if (sound) return;
#pragma unroll 1
    for (int i = rank; i < Tile::kStrips; i += a.cluster_size) {
      RepairStrip(a, StripAt<Tile>(a, item, warpgroup, i), repair);
    }
  }

 private:
  __device__ StripSums SumAt(const Arguments& a, int index) const {
    const auto cluster = cooperative_groups::this_cluster();
    const float4* own = sums + 2 * index * kThreads + threadIdx.x;
    StripSums total = {};
#pragma unroll
    for (int block = 0; block < kMostBlocksOfCluster; ++block) {
      if (block >= a.cluster_size) continue;
      const float4* theirs = cluster.map_shared_rank(own, block);
      const float4 low = theirs[0], high = theirs[kThreads];
      total += StripSums{{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    }
    return total;
  }
};

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_CLUSTER_H_
