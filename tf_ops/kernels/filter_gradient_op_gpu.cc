// The GPU kernel. It needs no nvcc: the engine is called with plain pointers and TensorFlow's stream.
#include <dlfcn.h>

#include <string>
#include <vector>

#include "tensorflow/core/framework/register_types.h"
#include "tensorflow/core/platform/logging.h"
#include "tensorflow/core/platform/tensor_float_32_utils.h"
#include "tensorflow/core/util/determinism.h"
#include "tf_ops/kernels/attributes.h"
#include "tf_ops/kernels/filter_gradient_op.h"
#include "tf_ops/wgrad/cuda/dispatch.h"
#include "tf_ops/wgrad/process_state.h"
#include "tsl/profiler/lib/traceme.h"
#include "xla/stream_executor/stream.h"

namespace tensorflow {
namespace {

// Where pip puts cuDNN beside the TensorFlow that is running: site-packages/nvidia/cudnn/lib.
std::string CudnnFolder() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&OpDeterminismRequired), &info) == 0) return "";
  const std::string library = info.dli_fname;  // site-packages/tensorflow/libtensorflow_framework.so.2
  const size_t tensorflow = library.rfind('/', library.rfind('/') - 1);
  return tensorflow == std::string::npos ? "" : library.substr(0, tensorflow) + "/nvidia/cudnn/lib";
}

class GpuFilterGradientOp : public FilterGradientOp {
 public:
  explicit GpuFilterGradientOp(OpKernelConstruction* construction) : FilterGradientOp(construction) {
    OP_REQUIRES_OK(construction, construction->GetAttr("use_cudnn_on_gpu", &use_cudnn_));
  }

 private:
  absl::Status ComputeGradient(OpKernelContext* context, const wgrad::Problem& problem, const Tensor& input,
                               const Tensor& out_backprop, Tensor* filter_backprop) override {
    wgrad::Algorithm requested;
    TF_RETURN_IF_ERROR(ToTensorFlow(wgrad::RequestedAlgorithm(&requested)));
    if (requested == wgrad::Algorithm::kWinograd) {
      return absl::InvalidArgumentError("algorithm winograd was asked for, which has no GPU kernel");
    }
    wgrad::cuda::Settings settings;
    settings.allow_tf32 = tensor_float_32_execution_enabled();
    settings.use_cudnn = use_cudnn_ && requested == wgrad::Algorithm::kAuto;
    settings.deterministic = OpDeterminismRequired();
    if (requested == wgrad::Algorithm::kReference) settings.only = wgrad::cuda::Method::kGeneral;
    if (requested == wgrad::Algorithm::kDepthwise) settings.only = wgrad::cuda::Method::kDepthwise;
    static const std::string cudnn_folder = CudnnFolder();
    settings.cudnn_folder = cudnn_folder;
    settings.report_no_cudnn = [](const std::string& why_not) {
      LOG(INFO) << "Conv2DBackpropFilterV2 does without cuDNN: " << why_not;
    };

    // Freed when the op returns, which is right for memory in the stream's order.
    std::vector<Tensor> workspaces;
    const auto allocate = [&](int64_t bytes, bool may_wait) -> void* {
      Tensor workspace;
      AllocationAttributes attributes;
      attributes.retry_on_failure = may_wait;
      if (!context->allocate_temp(DT_INT8, TensorShape({bytes}), &workspace, AllocatorAttributes(), attributes).ok()) {
        return nullptr;
      }
      workspaces.push_back(workspace);
      return workspace.data();
    };
    tsl::profiler::TraceMe trace("wgrad", tsl::profiler::TraceMeLevel::kInfo);
    void* stream = context->op_device_context()->stream()->platform_specific_handle().stream;
    std::string ran;
    TF_RETURN_IF_ERROR(ToTensorFlow(wgrad::cuda::ComputeFilterGradient(
        problem, settings, input.data(), out_backprop.data(), filter_backprop->data(), allocate, stream, &ran)));
    if (!wgrad::HasNoProducts(problem)) wgrad::CountRun(ran);
    trace.AppendMetadata([&ran] { return tsl::profiler::TraceMeEncode({{"algorithm", ran}}); });
    return absl::OkStatus();
  }

  bool use_cudnn_;
};

// A priority above the default wins over a kernel that a later TensorFlow may register.
#define REGISTER_GPU(T)                                                                                         \
  REGISTER_KERNEL_BUILDER(Name("Conv2DBackpropFilterV2").Device(DEVICE_GPU).TypeConstraint<T>("T").Priority(1), \
                          GpuFilterGradientOp);
TF_CALL_half(REGISTER_GPU);
TF_CALL_bfloat16(REGISTER_GPU);
TF_CALL_float(REGISTER_GPU);
TF_CALL_double(REGISTER_GPU);
#undef REGISTER_GPU

}  // namespace
}  // namespace tensorflow
