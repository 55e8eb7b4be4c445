#ifndef TF_OPS_WGRAD_CUDA_ERROR_H_
#define TF_OPS_WGRAD_CUDA_ERROR_H_

#include <cuda_runtime_api.h>

#include <string>

#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

// The status of a CUDA call; `what` names it to the user.
inline Status Check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return Status();
  cudaGetLastError();  // which would keep the error and blame the next launch for it
  const Code code = error == cudaErrorMemoryAllocation ? Code::kResourceExhausted : Code::kInternal;
  return Status(code, std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_ERROR_H_
