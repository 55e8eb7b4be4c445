// The sum of the slices, by all blocks of the wgmma kernel together.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_SUM_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_SUM_H_

#include "tf_ops/wgrad/cuda/pack.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/repair.h"
#include "tf_ops/wgrad/cuda/wgmma_tile.h"

namespace wgrad::cuda::wgmma {

using Sums = Pack<float, 4>;

inline constexpr int kSharing = 8;  // threads of a pack, where packs are few and slices many

template <typename Element>
struct Target {
  Pack<Element, 4>* packs;
  bool sound = true;

  __device__ void Store(int64_t index, const Sums& sums) {
    const Pack<Element, 4> pack = Round<Element>(sums);
    packs[index] = pack;
    sound &= IsSound(pack);
  }
};

// Each of the threads that share a pack adds up every eighth slice: 132 slices of 64 x 64 took a thread 9 us.
template <typename Element>
__device__ inline void SumManySlices(const Arguments& a, int64_t size, int64_t first, int64_t threads,
                                     Target<Element>* target) {
  const Sums* slices = reinterpret_cast<const Sums*>(a.slices);
  const int64_t own = threadIdx.x % kSharing;
  for (int64_t index = first / kSharing; index < RoundUp(size, 32); index += threads / kSharing) {
    Sums total = {};
    if (index < size) {
      const int64_t count = CeilDiv(a.slice_count - own, kSharing);
      Sums sums[1] = {};
      for (int64_t begin = 0; begin < count; begin += reduce::kChain) {
        reduce::AddChain<16>(slices + own * size + index, 0, kSharing * size, begin, count, sums);
      }
      total = sums[0];
    }
#pragma unroll
    for (int distance = 1; distance < kSharing; distance *= 2) {
      Sums other;
#pragma unroll
      for (int i = 0; i < 4; ++i) other.values[i] = __shfl_xor_sync(~0u, total.values[i], distance);
      total += other;
    }
    if (own == 0 && index < size) target->Store(index, total);
  }
}

// Many packs: several of a thread at once, so that as many loads are on their way.
template <int at_once, typename Element>
__device__ inline int64_t SumPacks(const Arguments& a, int64_t size, int64_t index, int64_t threads,
                                   Target<Element>* target) {
  const Sums* slices = reinterpret_cast<const Sums*>(a.slices);
  for (; index + (at_once - 1) * threads < size; index += at_once * threads) {
    Sums totals[at_once] = {};
    for (int64_t begin = 0; begin < a.slice_count; begin += reduce::kChain) {
      reduce::AddChain<at_once == 1 ? 16 : 4>(slices + index, threads, size, begin, a.slice_count, totals);
    }
#pragma unroll
    for (int i = 0; i < at_once; ++i) target->Store(index + i * threads, totals[i]);
  }
  return index;
}

template <typename Element>
__device__ inline void SumSlices(const Arguments& a, const Repair<Element>& repair) {
  const int64_t size = a.filter_rows * a.out_channels / 4;
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  const int64_t first = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const bool share = a.slice_count > reduce::kChain && size * kSharing <= threads;
  Target<Element> target = {static_cast<Pack<Element, 4>*>(a.filter_backprop)};
  if (share) {
    SumManySlices(a, size, first, threads, &target);
  } else {
    int64_t index = SumPacks<4>(a, size, first, threads, &target);
    index = SumPacks<2>(a, size, index, threads, &target);
    SumPacks<1>(a, size, index, threads, &target);
  }
  if (target.sound) return;
  if (share && first % kSharing != 0) return;
#pragma unroll 1
  for (int64_t index = share ? first / kSharing : first; index < size; index += share ? threads / kSharing : threads) {
    repair(4 * index, 4);
  }
}

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_SUM_H_
