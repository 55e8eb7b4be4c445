#include <cstring>
#include <vector>

#include "tensorflow/core/framework/register_types.h"
#include "tf_ops/kernels/attributes.h"
#include "tf_ops/kernels/cpu_engine.h"
#include "tf_ops/kernels/filter_gradient_op.h"
#include "tf_ops/kernels/intra_op_executor.h"

namespace tensorflow {
namespace {

// Scratch memory from the op's allocator, which aligns to 64 bytes.
class TempTensors : public wgrad::Scratch {
 public:
  explicit TempTensors(OpKernelContext* context) : context_(context) {}

  void* Allocate(size_t bytes) override {
    Tensor tensor;
    if (!context_->allocate_temp(DT_INT8, TensorShape({static_cast<int64_t>(bytes)}), &tensor).ok()) return nullptr;
    tensors_.push_back(tensor);
    return tensor.data();
  }

 private:
  OpKernelContext* const context_;
  std::vector<Tensor> tensors_;
};

class CpuFilterGradientOp : public FilterGradientOp {
 public:
  using FilterGradientOp::FilterGradientOp;

 private:
  absl::Status ComputeGradient(OpKernelContext* context, const wgrad::Problem& problem, const Tensor& input,
                               const Tensor& out_backprop, Tensor* filter_backprop) override {
    if (wgrad::HasNoProducts(problem)) {
      std::memset(filter_backprop->data(), 0, filter_backprop->TotalBytes());
      return absl::OkStatus();
    }
    const DeviceBase::CpuWorkerThreads& threads = *context->device()->tensorflow_cpu_worker_threads();
    IntraOpExecutor executor(threads.workers, threads.num_threads);
    TempTensors scratch(context);
    return ToTensorFlow(
        RunCpuEngine(problem, input.data(), out_backprop.data(), filter_backprop->data(), &executor, &scratch));
  }
};

// A priority above the default wins over a kernel that a later TensorFlow may register.
#define REGISTER_CPU(T)                                                                                         \
  REGISTER_KERNEL_BUILDER(Name("Conv2DBackpropFilterV2").Device(DEVICE_CPU).TypeConstraint<T>("T").Priority(1), \
                          CpuFilterGradientOp);
TF_CALL_half(REGISTER_CPU);
TF_CALL_bfloat16(REGISTER_CPU);
TF_CALL_float(REGISTER_CPU);
TF_CALL_double(REGISTER_CPU);
#undef REGISTER_CPU

}  // namespace
}  // namespace tensorflow
