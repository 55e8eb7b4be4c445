// The filter gradient by cuDNN.
#ifndef TF_OPS_WGRAD_CUDA_CUDNN_H_
#define TF_OPS_WGRAD_CUDA_CUDNN_H_

#include <string>
#include <vector>

#include "tf_ops/wgrad/cuda/cudnn_abi.h"
#include "tf_ops/wgrad/cuda/plan.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda::cudnn {

struct CudnnPlan {
  int algorithm;
  int math;
  int64_t algorithm_bytes;  // cuDNN's own workspace
};

// Why cuDNN does not take the problem, or an empty string.
std::string WhyNot(const Problem& problem, const Options& options);

// Appends cuDNN's suggestions for a problem that WhyNot lets through, best first; there may be none. Not its FFT and
// Winograd algorithms, whose float32 error is not bounded as the contract asks, nor those that add with atomics, which
// round half more than once.
Status Plans(const Functions& cudnn, const Problem& problem, const Options& options, int ordinal,
             std::vector<CudnnPlan>* plans);

// The workspace that Launch needs: cuDNN's, and room for dW in its own layout.
int64_t WorkspaceBytes(const Problem& problem, const CudnnPlan& plan);

// As cuda::Launch. `ordinal` is the current device, one cuDNN handle each.
Status Launch(const Functions& cudnn, const Problem& problem, const CudnnPlan& plan, const void* input,
              const void* out_backprop, void* filter_backprop, void* workspace, Stream stream, int ordinal);

}  // namespace wgrad::cuda::cudnn

#endif  // TF_OPS_WGRAD_CUDA_CUDNN_H_
