#ifndef TF_OPS_WGRAD_CUDA_STREAM_H_
#define TF_OPS_WGRAD_CUDA_STREAM_H_

namespace wgrad::cuda {

// A cudaStream_t, for those who do without CUDA's headers.
using Stream = void*;

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_STREAM_H_
