// What jit_compile=True makes of Conv2DBackpropFilterV2: on the CPU a custom call into the engine, elsewhere XLA's own
// convolution.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tensorflow/compiler/tf2xla/kernels/conv_op_helpers.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/platform/logging.h"
#include "tf_ops/kernels/attributes.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/xla/custom_call.h"
#include "xla/ffi/api/ffi.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape.h"
#include "xla/shape_util.h"

// The wheel's headers declare it beside much that they do not define.
namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace tensorflow {
namespace {

constexpr char kCallTarget[] = "Conv2DBackpropFilterV2";

std::vector<int64_t> Sizes(const xla::Shape& shape) { return {shape.dimensions().begin(), shape.dimensions().end()}; }

Padding PaddingOf(wgrad::Padding padding) {
  switch (padding) {
    case wgrad::Padding::kValid:
      return VALID;
    case wgrad::Padding::kSame:
      return SAME;
    case wgrad::Padding::kExplicit:
      break;
  }
  return EXPLICIT;
}

// XLA's convolution: the HLO that TensorFlow's own lowering of the V1 op consists of.
class ConvolutionOp : public XlaOpKernel {
 public:
  explicit ConvolutionOp(OpKernelConstruction* construction)
      : XlaOpKernel(construction), dtype_(DataTypeOf(construction->output_type(0))) {
    OP_REQUIRES_OK(construction, ReadAttributes(construction, &attributes_));
  }

  void Compile(XlaOpKernelContext* context) final {
    OP_REQUIRES_VALUE(const xla::Shape input, context, context->InputXlaShape(0));
    OP_REQUIRES_VALUE(const xla::Shape filter, context, context->InputXlaShape(1));
    OP_REQUIRES_VALUE(const xla::Shape out_backprop, context, context->InputXlaShape(2));
    wgrad::Problem problem;
    OP_REQUIRES_OK(context, ToTensorFlow(wgrad::MakeProblem(dtype_, attributes_, Sizes(input), Sizes(filter),
                                                            Sizes(out_backprop), &problem)));
    if (wgrad::HasNoProducts(problem) || wgrad::FilterElements(problem) == 0) {
      context->SetOutput(0, xla::Zeros(context->builder(), filter));
      return;
    }
    OP_REQUIRES_VALUE(const xla::XlaOp filter_backprop, context,
                      Lower(context->builder(), {context->Input(0), context->Input(2)}, {input, out_backprop}, filter));
    context->SetOutput(0, filter_backprop);
  }

 protected:
  // `operands` and their shapes: input, out_backprop.
  virtual absl::StatusOr<xla::XlaOp> Lower(xla::XlaBuilder*, absl::Span<const xla::XlaOp> operands,
                                           absl::Span<const xla::Shape>, const xla::Shape& filter) const {
    ConvOpAttrs attrs;
    attrs.depthwise = false;
    attrs.num_spatial_dims = 2;
    attrs.strides.assign(attributes_.strides.begin(), attributes_.strides.end());
    attrs.dilations.assign(attributes_.dilations.begin(), attributes_.dilations.end());
    attrs.padding = PaddingOf(attributes_.padding);
    attrs.explicit_paddings = attributes_.explicit_paddings;
    attrs.data_format = attributes_.layout == wgrad::Layout::kNHWC ? FORMAT_NHWC : FORMAT_NCHW;
    return MakeXlaBackpropFilterConvOp(type_string(), operands[0], filter, operands[1], attrs);
  }

  const wgrad::ConvAttributes& attributes() const { return attributes_; }

 private:
  const wgrad::DataType dtype_;
  wgrad::ConvAttributes attributes_;
};

// Whether XLA knows the handler; false where its FFI is of another version than the one built against.
bool HandlerIsRegistered() {
  static const bool registered = [] {
    const XLA_FFI_Api* api = xla::ffi::GetXlaFfiApi();
    XLA_FFI_Error* error = xla::ffi::Ffi::RegisterStaticHandler(api, kCallTarget, "Host", wgrad_xla_call);
    if (error == nullptr) return true;
    LOG(WARNING) << kCallTarget
                 << " is compiled to XLA's convolution: " << xla::ffi::internal::GetErrorMessage(api, error);
    xla::ffi::internal::DestroyError(api, error);
    return false;
  }();
  return registered;
}

// A custom call into the engine of the plugin's library.
class EngineOp : public ConvolutionOp {
 public:
  using ConvolutionOp::ConvolutionOp;

 private:
  absl::StatusOr<xla::XlaOp> Lower(xla::XlaBuilder* builder, absl::Span<const xla::XlaOp> operands,
                                   absl::Span<const xla::Shape> shapes, const xla::Shape& filter) const override {
    // XLA pads a dimension that it knows only a bound of, and tells its own operations alone how much of it counts.
    const bool dynamic = shapes[0].is_dynamic() || shapes[1].is_dynamic();
    if (dynamic || !HandlerIsRegistered()) return ConvolutionOp::Lower(builder, operands, shapes, filter);
    return xla::CustomCallWithLayout(builder, kCallTarget, operands, RowMajor(filter),
                                     {RowMajor(shapes[0]), RowMajor(shapes[1])}, Encode(attributes()),
                                     /*has_side_effect=*/false, /*output_operand_aliasing=*/{}, /*literal=*/nullptr,
                                     xla::CustomCallSchedule::SCHEDULE_NONE,
                                     xla::CustomCallApiVersion::API_VERSION_TYPED_FFI);
  }

  static xla::Shape RowMajor(const xla::Shape& shape) {
    return xla::ShapeUtil::MakeShapeWithDescendingLayout(shape.element_type(), shape.dimensions());
  }

  // An MLIR dictionary attribute, which is how XLA takes the attributes of a typed custom call.
  static std::string Encode(const wgrad::ConvAttributes& attributes) {
    return absl::StrCat("{strides = ", Encode(attributes.strides), ", dilations = ", Encode(attributes.dilations),
                        ", padding = ", static_cast<int32_t>(attributes.padding),
                        " : i32, explicit_paddings = ", Encode(attributes.explicit_paddings),
                        ", layout = ", static_cast<int32_t>(attributes.layout), " : i32}");
  }

  static std::string Encode(const std::vector<int64_t>& integers) {
    return absl::StrCat("array<i64", integers.empty() ? "" : ": ", absl::StrJoin(integers, ", "), ">");
  }
};

// Registered as kernels of the compilation devices, not with REGISTER_XLA_OP: what that registers XLA reads only until
// it compiles its first program, which may be before this library is loaded, and of an op it takes one lowering alone,
// though a later TensorFlow may have its own. A priority above the default wins over that.
REGISTER_KERNEL_BUILDER(Name(kCallTarget).Device(DEVICE_CPU_XLA_JIT).Priority(1), EngineOp);
REGISTER_KERNEL_BUILDER(Name(kCallTarget).Device(DEVICE_GPU_XLA_JIT).Priority(1), ConvolutionOp);
// The fallback, by the label that tests/test_xla.py asks for it with.
REGISTER_KERNEL_BUILDER(Name(kCallTarget).Device(DEVICE_CPU_XLA_JIT).Label("convolution"), ConvolutionOp);

}  // namespace
}  // namespace tensorflow
