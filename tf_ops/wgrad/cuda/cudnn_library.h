#ifndef TF_OPS_WGRAD_CUDA_CUDNN_LIBRARY_H_
#define TF_OPS_WGRAD_CUDA_CUDNN_LIBRARY_H_

#include <string>

#include "tf_ops/wgrad/cuda/cudnn_abi.h"

namespace wgrad::cuda::cudnn {

// cuDNN 9 of this process, or nullptr and why there is none. Looks for one that is loaded already, then into `folder`
// (may be empty), then where the dynamic linker looks. Found or not found once: later calls give the same answer.
const Functions* Library(const std::string& folder, std::string* why_not);

// The first of the libraries that cuDNN opens on demand that is not in `folder`, or an empty string. cuDNN ends the
// process where one is missing, so this is asked before its first call.
std::string MissingLibrary(const std::string& folder);

}  // namespace wgrad::cuda::cudnn

#endif  // TF_OPS_WGRAD_CUDA_CUDNN_LIBRARY_H_
