// A libcudnn.so.9 whose filter gradient is the definition, on the host and in double. It has only what cudnn_abi.h
// declares, and is strict about what it is given.
#include <atomic>
#include <cstdint>

#include "tf_ops/wgrad/cuda/cudnn_abi.h"
#include "tf_ops/wgrad/cuda/element.h"

namespace wgrad::cuda::cudnn {

constexpr Result kBadParameter = 2000, kNotSupported = 3000;
constexpr size_t kWorkspaceBytes = 1000;
constexpr int kAlgorithm0 = 0, kAlgorithmFft = 2;

struct HandleObject {
  void* stream;
};
struct TensorObject {
  int type;
  int64_t sizes[4], strides[4];  // n, c, h, w
};
struct FilterObject {
  int type, format;
  int64_t k, c, h, w;
};
struct ConvolutionObject {
  int pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, compute_type;
  int groups = 1, math = kDefaultMath;
};

std::atomic<int> calls;
std::atomic<Result> answer = kSuccess;  // of the calls that are counted; another than kSuccess is all that they do

template <typename Object>
Result New(Object** object) {
  *object = new Object();
  return kSuccess;
}

template <typename Object>
Result Delete(Object* object) {
  delete object;
  return kSuccess;
}

// The output size along one axis, as cuDNN computes it.
int64_t Out(int64_t in, int64_t filter, int pad, int stride, int dilation) {
  return (in + 2 * pad - (filter - 1) * dilation - 1) / stride + 1;
}

bool Consistent(const TensorObject& x, const TensorObject& dy, const ConvolutionObject& conv, const FilterObject& dw) {
  return x.type == dy.type && x.type == dw.type && conv.mode == kCrossCorrelation &&
         conv.compute_type == (x.type == kDouble ? kDouble : kFloat) && x.sizes[0] == dy.sizes[0] &&
         x.sizes[1] == dw.c * conv.groups && dy.sizes[1] == dw.k && dw.k % conv.groups == 0 &&
         dy.sizes[2] == Out(x.sizes[2], dw.h, conv.pad_h, conv.stride_h, conv.dilation_h) &&
         dy.sizes[3] == Out(x.sizes[3], dw.w, conv.pad_w, conv.stride_w, conv.dilation_w);
}

template <typename T>
void Compute(const TensorObject& x, const T* in, const TensorObject& dy, const T* gradient,
             const ConvolutionObject& conv, const FilterObject& dw, T* out) {
  const auto at = [](const TensorObject& t, const T* data, int64_t n, int64_t c, int64_t h, int64_t w) {
    return static_cast<double>(Widen(data[n * t.strides[0] + c * t.strides[1] + h * t.strides[2] + w * t.strides[3]]));
  };
  for (int64_t k = 0; k < dw.k; ++k)
    for (int64_t c = 0; c < dw.c; ++c)
      for (int64_t r = 0; r < dw.h; ++r)
        for (int64_t s = 0; s < dw.w; ++s) {
          double sum = 0;
          for (int64_t n = 0; n < dy.sizes[0]; ++n)
            for (int64_t p = 0; p < dy.sizes[2]; ++p)
              for (int64_t q = 0; q < dy.sizes[3]; ++q) {
                const int64_t h = p * conv.stride_h + r * conv.dilation_h - conv.pad_h;
                const int64_t w = q * conv.stride_w + s * conv.dilation_w - conv.pad_w;
                if (h < 0 || h >= x.sizes[2] || w < 0 || w >= x.sizes[3]) continue;
                sum += at(x, in, n, k / (dw.k / conv.groups) * dw.c + c, h, w) * at(dy, gradient, n, k, p, q);
              }
          const int64_t index = dw.format == kFormatNhwc ? ((k * dw.h + r) * dw.w + s) * dw.c + c
                                                         : ((k * dw.c + c) * dw.h + r) * dw.w + s;
          out[index] = Round<T>(static_cast<Accumulator<T>>(sum));
        }
}

bool IsOne(const void* alpha, int type) {
  return type == kDouble ? *static_cast<const double*>(alpha) == 1 : *static_cast<const float*>(alpha) == 1;
}

}  // namespace wgrad::cuda::cudnn

using namespace wgrad::cuda::cudnn;

#define FAKE extern "C" __attribute__((visibility("default")))

FAKE int fake_cudnn_calls() { return calls; }
FAKE void fake_cudnn_answer(Result result) { answer = result; }

FAKE const char* cudnnGetErrorString(Result) { return "refused by the fake cuDNN"; }
FAKE Result cudnnCreate(Handle* handle) { return New(handle); }
FAKE Result cudnnSetStream(Handle handle, void* stream) {
  handle->stream = stream;
  return kSuccess;
}
FAKE Result cudnnCreateTensorDescriptor(TensorDescriptor* x) { return New(x); }
FAKE Result cudnnDestroyTensorDescriptor(TensorDescriptor x) { return Delete(x); }
FAKE Result cudnnSetTensor4dDescriptorEx(TensorDescriptor x, int type, int n, int c, int h, int w, int n_stride,
                                         int c_stride, int h_stride, int w_stride) {
  *x = {type, {n, c, h, w}, {n_stride, c_stride, h_stride, w_stride}};
  return kSuccess;
}
FAKE Result cudnnCreateFilterDescriptor(FilterDescriptor* dw) { return New(dw); }
FAKE Result cudnnDestroyFilterDescriptor(FilterDescriptor dw) { return Delete(dw); }
FAKE Result cudnnSetFilter4dDescriptor(FilterDescriptor dw, int type, int format, int k, int c, int h, int w) {
  *dw = {type, format, k, c, h, w};
  return kSuccess;
}
FAKE Result cudnnCreateConvolutionDescriptor(ConvolutionDescriptor* conv) { return New(conv); }
FAKE Result cudnnDestroyConvolutionDescriptor(ConvolutionDescriptor conv) { return Delete(conv); }
FAKE Result cudnnSetConvolution2dDescriptor(ConvolutionDescriptor conv, int pad_h, int pad_w, int stride_h,
                                            int stride_w, int dilation_h, int dilation_w, int mode, int compute_type) {
  *conv = {pad_h, pad_w, stride_h, stride_w, dilation_h, dilation_w, mode, compute_type};
  return kSuccess;
}
FAKE Result cudnnSetConvolutionGroupCount(ConvolutionDescriptor conv, int groups) {
  conv->groups = groups;
  return kSuccess;
}
FAKE Result cudnnSetConvolutionMathType(ConvolutionDescriptor conv, int math) {
  conv->math = math;
  return kSuccess;
}

// One that must be chosen, and ones that must not: added with atomics, by FFT, out of favour, with another arithmetic.
FAKE Result cudnnGetConvolutionBackwardFilterAlgorithm_v7(Handle, TensorDescriptor x, TensorDescriptor dy,
                                                          ConvolutionDescriptor conv, FilterDescriptor dw,
                                                          int requested, int* returned, AlgorithmPerformance* all) {
  ++calls;
  if (answer != kSuccess) return answer;
  if (!Consistent(*x, *dy, *conv, *dw)) return kBadParameter;
  const AlgorithmPerformance suggestions[] = {
      {kAlgorithm0, kSuccess, 1, 0, 0, conv->math, {}},
      {kAlgorithmFft, kSuccess, 1, 0, kDeterministic, conv->math, {}},
      {kAlgorithm1, kNotSupported, 1, 0, kDeterministic, conv->math, {}},
      {kAlgorithm1, kSuccess, 2, kWorkspaceBytes, kDeterministic, conv->math, {}},
      {kAlgorithm1, kSuccess, 3, kWorkspaceBytes, kDeterministic, kDefaultMath, {}},
  };
  *returned = 0;
  for (const AlgorithmPerformance& each : suggestions) {
    if (*returned < requested) all[(*returned)++] = each;
  }
  return kSuccess;
}

FAKE Result cudnnConvolutionBackwardFilter(Handle, const void* alpha, TensorDescriptor x, const void* in,
                                           TensorDescriptor dy, const void* gradient, ConvolutionDescriptor conv,
                                           int algorithm, void* workspace, size_t workspace_bytes, const void* beta,
                                           FilterDescriptor dw, void* out) {
  ++calls;
  if (answer != kSuccess) return answer;
  const bool aligned = reinterpret_cast<uintptr_t>(workspace) % 16 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0;
  if (!Consistent(*x, *dy, *conv, *dw) || algorithm != kAlgorithm1 || workspace_bytes < kWorkspaceBytes || !aligned ||
      !IsOne(alpha, x->type) || IsOne(beta, x->type)) {
    return kBadParameter;
  }
  const auto compute = [&](auto element) {
    using T = decltype(element);
    Compute(*x, static_cast<const T*>(in), *dy, static_cast<const T*>(gradient), *conv, *dw, static_cast<T*>(out));
    return kSuccess;
  };
  switch (x->type) {
    case kHalf:
      return compute(wgrad::Half());
    case kBFloat16:
      return compute(wgrad::BFloat16());
    case kFloat:
      return compute(float());
    default:
      return compute(double());
  }
}
