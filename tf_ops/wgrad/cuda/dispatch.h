// The GPU's filter gradient as TensorFlow's kernel calls it: cuDNN and the engine's own kernels behind one function
// that learns from its calls which is the fastest.
#ifndef TF_OPS_WGRAD_CUDA_DISPATCH_H_
#define TF_OPS_WGRAD_CUDA_DISPATCH_H_

#include <functional>
#include <optional>
#include <string>

#include "tf_ops/wgrad/cuda/plan.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

struct Settings {
  bool allow_tf32 = true;
  bool use_cudnn = true;
  bool deterministic = false;  // the same kernel in every call: nothing is measured, and cuDNN is left alone
  std::optional<Method> only;  // this method or an error
  std::string cudnn_folder;    // where libcudnn.so.9 may be
  // Told why, where cuDNN is asked for and cannot be had: each reason once in a process.
  std::function<void(const std::string& why_not)> report_no_cudnn;
};

// `bytes` of memory of the current device, aligned to 256 and in the stream's order, or nullptr. Where may_wait is
// false, something else can be done with less, which is better than to wait until others free theirs.
using Allocate = std::function<void*(int64_t bytes, bool may_wait)>;

// Writes the whole of `filter_backprop` (HWIO) on `stream`, which belongs to the calling thread's current device. Never
// waits for the device. `ran`, where given, receives the name of what ran: "cudnn" or one of plan.h's kMethodNames.
Status ComputeFilterGradient(const Problem& problem, const Settings& settings, const void* input,
                             const void* out_backprop, void* filter_backprop, const Allocate& allocate, Stream stream,
                             std::string* ran = nullptr);

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_DISPATCH_H_
