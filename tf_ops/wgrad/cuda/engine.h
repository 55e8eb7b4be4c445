// The CUDA engine's own kernels: runs a plan of plan.h on a stream. Nothing here allocates device memory or waits for
// the device, so a call can be captured in a graph.
#ifndef TF_OPS_WGRAD_CUDA_ENGINE_H_
#define TF_OPS_WGRAD_CUDA_ENGINE_H_

#include "tf_ops/wgrad/cuda/plan.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

// All pointers are to memory of the current device, which must be `stream`'s. `workspace` has WorkspaceOf(problem,
// plan).bytes bytes, aligned to 256, and belongs to the call until the stream has passed it. Writes the whole of
// `filter_backprop` (HWIO). The same plan gives the same bits every time.
Status Launch(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
              void* filter_backprop, void* workspace, Stream stream);

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_ENGINE_H_
