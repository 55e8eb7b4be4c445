// The part of cuDNN's C interface that the engine calls, declared here so that a build needs no cuDNN. Version 9
// promises this ABI for all of its releases; compared with the headers of 9.24.
#ifndef TF_OPS_WGRAD_CUDA_CUDNN_ABI_H_
#define TF_OPS_WGRAD_CUDA_CUDNN_ABI_H_

#include <cstddef>

namespace wgrad::cuda::cudnn {

using Handle = struct HandleObject*;
using TensorDescriptor = struct TensorObject*;
using FilterDescriptor = struct FilterObject*;
using ConvolutionDescriptor = struct ConvolutionObject*;
using Result = int;

inline constexpr Result kSuccess = 0, kHostAllocationFailed = 4003, kDeviceAllocationFailed = 4004;
inline constexpr int kCrossCorrelation = 1;
inline constexpr int kFormatNchw = 0, kFormatNhwc = 1;
inline constexpr int kFloat = 0, kDouble = 1, kHalf = 2, kBFloat16 = 9;
inline constexpr int kDefaultMath = 0, kTensorOpMath = 1, kFmaMath = 3;
// Not 0 and 3, which add with atomics, 2 and 6, which are FFTs, nor 4 and 5, which are Winograd's.
inline constexpr int kAlgorithm1 = 1;
inline constexpr int kDeterministic = 1;

struct AlgorithmPerformance {
  int algorithm;
  Result status;
  float time;
  size_t memory;
  int determinism;
  int math;
  int reserved[3];
};

// X(name, parameters)
#define WGRAD_CUDNN_FUNCTIONS(X)                                                                                      \
  X(Create, (Handle*))                                                                                                \
  X(SetStream, (Handle, void* stream))                                                                                \
  X(CreateTensorDescriptor, (TensorDescriptor*))                                                                      \
  X(DestroyTensorDescriptor, (TensorDescriptor))                                                                      \
  X(SetTensor4dDescriptorEx,                                                                                          \
    (TensorDescriptor, int type, int n, int c, int h, int w, int n_stride, int c_stride, int h_stride, int w_stride)) \
  X(CreateFilterDescriptor, (FilterDescriptor*))                                                                      \
  X(DestroyFilterDescriptor, (FilterDescriptor))                                                                      \
  X(SetFilter4dDescriptor, (FilterDescriptor, int type, int format, int k, int c, int h, int w))                      \
  X(CreateConvolutionDescriptor, (ConvolutionDescriptor*))                                                            \
  X(DestroyConvolutionDescriptor, (ConvolutionDescriptor))                                                            \
  X(SetConvolution2dDescriptor, (ConvolutionDescriptor, int pad_h, int pad_w, int stride_h, int stride_w,             \
                                 int dilation_h, int dilation_w, int mode, int compute_type))                         \
  X(SetConvolutionGroupCount, (ConvolutionDescriptor, int groups))                                                    \
  X(SetConvolutionMathType, (ConvolutionDescriptor, int math))                                                        \
  X(GetConvolutionBackwardFilterAlgorithm_v7,                                                                         \
    (Handle, TensorDescriptor x, TensorDescriptor dy, ConvolutionDescriptor, FilterDescriptor dw, int requested,      \
     int* returned, AlgorithmPerformance*))                                                                           \
  X(ConvolutionBackwardFilter, (Handle, const void* alpha, TensorDescriptor, const void* x, TensorDescriptor,         \
                                const void* dy, ConvolutionDescriptor, int algorithm, void* workspace,                \
                                size_t workspace_bytes, const void* beta, FilterDescriptor, void* dw))

struct Functions {
  const char* (*GetErrorString)(Result);
#define WGRAD_CUDNN_MEMBER(name, parameters) Result(*name) parameters;
  WGRAD_CUDNN_FUNCTIONS(WGRAD_CUDNN_MEMBER)
#undef WGRAD_CUDNN_MEMBER
};

}  // namespace wgrad::cuda::cudnn

#endif  // TF_OPS_WGRAD_CUDA_CUDNN_ABI_H_
