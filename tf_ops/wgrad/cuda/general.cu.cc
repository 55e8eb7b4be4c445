#include "tf_ops/wgrad/cuda/general.h"

#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda {
namespace {

template <typename T>
__device__ void SumTile(const Problem& p, const general::Tile& tile, Range pixels, const T* input,
                        const T* out_backprop, general::Shared<T>* shared, general::Thread<T>* state) {
  const int thread = threadIdx.x;
  general::Start(p, tile, thread, state);
  int64_t chain_end = pixels.begin + general::kChain;
  for (int64_t first = pixels.begin; first < pixels.end; first += general::kDepth) {
    general::LocatePixels(p, first, thread, shared);
    __syncthreads();
    general::Load(p, tile, input, out_backprop, first, pixels.end, thread, *state, shared);
    __syncthreads();
    general::Multiply(*shared, thread, state);
    if (first + general::kDepth >= chain_end) {
      general::CloseChain(state);
      chain_end += general::kChain;
    }
    __syncthreads();
  }
  general::CloseChain(state);
}

template <typename T>
__global__ void __launch_bounds__(general::kThreads)
    GeneralKernel(Problem p, const T* input, const T* out_backprop, int64_t slice_count, Accumulator<T>* slices) {
  __shared__ general::Shared<T> shared;
  general::Thread<T> state;
  const general::Tile tile = general::TileAt(p, blockIdx.x);
  const int64_t pixels = p.batch * p.out_height * p.out_width;
  SumTile(p, tile, SliceOf(pixels, slice_count, tile.slice), input, out_backprop, &shared, &state);
  Accumulator<T>* slice = slices + tile.slice * FilterRows(p) * p.out_channels;
  general::VisitSums(p, tile, threadIdx.x, state, [slice](int64_t index, Accumulator<T> sum) { slice[index] = sum; });
}

template <typename T>
__global__ void __launch_bounds__(general::kThreads)
    RepairKernel(Problem p, const T* input, const T* out_backprop, T* filter_backprop) {
  __shared__ general::Shared<T> shared;
  general::Thread<T> state;
  const general::Tile tile = general::TileAt(p, blockIdx.x);
  bool finite = true;
  general::VisitSums(p, tile, threadIdx.x, state,
                     [&](int64_t index, Accumulator<T>) { finite = finite && IsFinite(filter_backprop[index]); });
  if (__syncthreads_and(finite)) return;
  SumTile(p, tile, {0, p.batch * p.out_height * p.out_width}, input, out_backprop, &shared, &state);
  general::VisitSums(p, tile, threadIdx.x, state, [&](int64_t index, Accumulator<T> sum) {
    if (!IsFinite(filter_backprop[index])) filter_backprop[index] = Round<T>(sum);
  });
}

}  // namespace

Status LaunchGeneral(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                     void* slices, Stream stream) {
  const auto blocks = static_cast<unsigned>(general::Tiles(problem) * slice_count);
  return VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    GeneralKernel<T><<<blocks, general::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop), slice_count,
        static_cast<Accumulator<T>*>(slices));
    return Check(cudaGetLastError(), "general");
  });
}

Status LaunchRepair(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                    Stream stream) {
  const auto blocks = static_cast<unsigned>(general::Tiles(problem));
  return VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    RepairKernel<T><<<blocks, general::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop), static_cast<T*>(filter_backprop));
    return Check(cudaGetLastError(), "repair");
  });
}

}  // namespace wgrad::cuda
