// The engine's own kernels are structs that hold their arguments and have
//   Shared                             a block's shared memory
//   int64_t Blocks() const             how many blocks there are
//   void Run(int64_t, Shared*) const   what the block of this number does
// Run is written for the block as a whole: what its threads do goes through ForEachThread, which ends with a barrier.
// nvcc makes kernels of them. Another compiler makes loops over blocks and threads, so that tests on the host execute
// the code that the device runs.
#ifndef TF_OPS_WGRAD_CUDA_LAUNCH_H_
#define TF_OPS_WGRAD_CUDA_LAUNCH_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/status.h"

#ifdef __CUDACC__
#include "tf_ops/wgrad/cuda/error.h"
#endif

namespace wgrad::cuda {

inline constexpr int kThreads = 256;  // of a block

struct Grid {
  uint32_t x, y;
};

// x ends at 2^31 - 1, and there may be more blocks than that; y ends at 65535. The last row may have blocks too many.
WGRAD_HOST_DEVICE Grid GridOf(int64_t blocks) {
  const int64_t rows = blocks / std::numeric_limits<int32_t>::max() + 1;
  return {static_cast<uint32_t>(CeilDiv(blocks, rows)), static_cast<uint32_t>(rows)};
}

WGRAD_HOST_DEVICE int64_t BlockNumber(const Grid& grid, uint32_t x, uint32_t y) { return int64_t{y} * grid.x + x; }

#ifdef __CUDACC__

// A variable of each thread of the block.
template <typename State>
class PerThread {
 public:
  __device__ __forceinline__ State& operator[](int) { return state_; }

 private:
  State state_;
};

template <typename Function>
__device__ __forceinline__ void ForEachThread(Function function) {
  function(static_cast<int>(threadIdx.x));
  __syncthreads();
}

// Devices before 8.0 have room for 1024 threads.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr int kMostBlocks = 1024 / kThreads;
#else
inline constexpr int kMostBlocks = 1536 / kThreads;
#endif

template <int blocks, typename Kernel>
__global__ void __launch_bounds__(kThreads, std::min(blocks, kMostBlocks)) RunBlock(Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  const int64_t block = BlockNumber({gridDim.x, gridDim.y}, blockIdx.x, blockIdx.y);
  if (block < kernel.Blocks()) kernel.Run(block, &shared);
}

// Asynchronous on `stream`; `name` is for the error message. A multiprocessor has registers for as many as `blocks`.
template <int blocks = 1, typename Kernel>
Status LaunchBlocks(const Kernel& kernel, const char* name, Stream stream) {
  const Grid grid = GridOf(kernel.Blocks());
  RunBlock<blocks><<<dim3(grid.x, grid.y), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(kernel);
  return Check(cudaGetLastError(), name);
}

#else

template <typename State>
class PerThread {
 public:
  State& operator[](int thread) { return states_[thread]; }

 private:
  std::vector<State> states_ = std::vector<State>(kThreads);
};

// Forwards and backwards in turn: threads that depend on one another without a barrier then disagree with the device.
template <typename Function>
void ForEachThread(Function function) {
  static thread_local bool forwards = false;
  forwards = !forwards;
  for (int i = 0; i < kThreads; ++i) function(forwards ? i : kThreads - 1 - i);
}

template <int blocks = 1, typename Kernel>
Status LaunchBlocks(const Kernel& kernel, const char* /*name*/, Stream /*stream*/) {
  const Grid grid = GridOf(kernel.Blocks());
  typename Kernel::Shared shared;
  static_assert(std::is_trivially_copyable_v<decltype(shared)>);
  for (uint32_t y = 0; y < grid.y; ++y) {
    for (uint32_t x = 0; x < grid.x; ++x) {
      const int64_t block = BlockNumber(grid, x, y);
      std::memset(static_cast<void*>(&shared), 0xff, sizeof(shared));  // NaN in every type
      if (block < kernel.Blocks()) kernel.Run(block, &shared);
    }
  }
  return Status();
}

#endif

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_LAUNCH_H_
