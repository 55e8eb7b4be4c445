#include "tf_ops/wgrad/cuda/depthwise.h"

#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(depthwise::kThreads)
    DepthwiseKernel(Problem p, const T* input, const T* out_backprop, int64_t slice_count, Accumulator<T>* slices) {
  __shared__ depthwise::Shared<T> shared;
  const depthwise::Tile tile = depthwise::TileAt(p, blockIdx.x);
  const Range pixels = SliceOf(p.batch * p.out_height * p.out_width, slice_count, tile.slice);
  depthwise::Accumulate(p, tile, pixels, input, out_backprop, threadIdx.x, &shared);
  __syncthreads();
  depthwise::Combine(p, tile, shared, threadIdx.x, slices);
}

}  // namespace

Status LaunchDepthwise(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                       void* slices, Stream stream) {
  const auto blocks = static_cast<unsigned>(depthwise::Tiles(problem) * slice_count);
  return VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    DepthwiseKernel<T><<<blocks, depthwise::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop), slice_count,
        static_cast<Accumulator<T>*>(slices));
    return Check(cudaGetLastError(), "depthwise");
  });
}

}  // namespace wgrad::cuda
