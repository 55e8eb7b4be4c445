#include "tf_ops/xla/custom_call.h"

#include <algorithm>
#include <functional>
#include <utility>
#include <vector>

#include "tensorflow/core/framework/allocator.h"
#include "tf_ops/kernels/cpu_engine.h"
#include "tf_ops/kernels/intra_op_executor.h"
#include "tf_ops/wgrad/problem.h"
#include "xla/ffi/api/ffi.h"

XLA_FFI_REGISTER_ENUM_ATTR_DECODING(wgrad::Padding);
XLA_FFI_REGISTER_ENUM_ATTR_DECODING(wgrad::Layout);

namespace tensorflow {
namespace {

namespace ffi = ::xla::ffi;

using Integers = ffi::Span<const int64_t>;

std::vector<int64_t> ToVector(Integers integers) { return {integers.begin(), integers.end()}; }

wgrad::DataType DataTypeOf(ffi::DataType dtype) {
  switch (dtype) {
    case ffi::F16:
      return wgrad::DataType::kFloat16;
    case ffi::BF16:
      return wgrad::DataType::kBFloat16;
    case ffi::F64:
      return wgrad::DataType::kFloat64;
    default:  // the op takes no other
      return wgrad::DataType::kFloat32;
  }
}

ffi::ErrorCode ToXla(wgrad::Code code) {
  switch (code) {
    case wgrad::Code::kOk:
      return ffi::ErrorCode::kOk;
    case wgrad::Code::kInvalidArgument:
      return ffi::ErrorCode::kInvalidArgument;
    case wgrad::Code::kResourceExhausted:
      return ffi::ErrorCode::kResourceExhausted;
    case wgrad::Code::kUnimplemented:
      return ffi::ErrorCode::kUnimplemented;
    case wgrad::Code::kInternal:
      break;
  }
  return ffi::ErrorCode::kInternal;
}

// From TensorFlow's allocator: XLA has none for its custom calls on the CPU.
class CpuMemory : public wgrad::Scratch {
 public:
  ~CpuMemory() override {
    for (void* memory : allocated_) cpu_allocator()->DeallocateRaw(memory);
  }

  void* Allocate(size_t bytes) override {
    void* memory = cpu_allocator()->AllocateRaw(Allocator::kAllocatorAlignment, bytes);
    if (memory != nullptr) allocated_.push_back(memory);
    return memory;
  }

 private:
  std::vector<void*> allocated_;
};

wgrad::Status ComputeGradient(ffi::ThreadPool* threads, const wgrad::ConvAttributes& attributes, ffi::AnyBuffer input,
                              ffi::AnyBuffer out_backprop, ffi::AnyBuffer filter_backprop) {
  // The compiler has checked them, but an executable that was kept may come from another version of this library.
  wgrad::Status status = wgrad::ValidateAttributes(attributes);
  if (!status.ok()) return status;
  wgrad::Problem problem;
  status = wgrad::MakeProblem(DataTypeOf(input.element_type()), attributes, ToVector(input.dimensions()),
                              ToVector(filter_backprop.dimensions()), ToVector(out_backprop.dimensions()), &problem);
  if (!status.ok()) return status;
  IntraOpExecutor executor([threads](std::function<void()> work) { threads->Schedule(std::move(work)); },
                           static_cast<int>(std::max<int64_t>(1, threads->num_threads())));
  CpuMemory scratch;
  return RunCpuEngine(problem, input.untyped_data(), out_backprop.untyped_data(), filter_backprop.untyped_data(),
                      &executor, &scratch);
}

ffi::Error Call(ffi::ThreadPool threads, ffi::AnyBuffer input, ffi::AnyBuffer out_backprop,
                ffi::Result<ffi::AnyBuffer> filter_backprop, Integers strides, Integers dilations,
                wgrad::Padding padding, Integers explicit_paddings, wgrad::Layout layout) {
  const wgrad::ConvAttributes attributes = {ToVector(strides), ToVector(dilations), padding,
                                            ToVector(explicit_paddings), layout};
  const wgrad::Status status = ComputeGradient(&threads, attributes, input, out_backprop, *filter_backprop);
  return ffi::Error(ToXla(status.code()), status.message());
}

}  // namespace
}  // namespace tensorflow

XLA_FFI_DEFINE_HANDLER_SYMBOL(wgrad_xla_call, tensorflow::Call,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<xla::ffi::Span<const int64_t>>("strides")
                                  .Attr<xla::ffi::Span<const int64_t>>("dilations")
                                  .Attr<wgrad::Padding>("padding")
                                  .Attr<xla::ffi::Span<const int64_t>>("explicit_paddings")
                                  .Attr<wgrad::Layout>("layout"));
