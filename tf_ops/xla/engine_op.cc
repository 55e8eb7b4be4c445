// On the CPU, where XLA has typed custom calls: one into the engine.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/platform/logging.h"
#include "tf_ops/xla/convolution_op.h"
#include "tf_ops/xla/custom_call.h"
#include "xla/ffi/api/ffi.h"
#include "xla/shape_util.h"

// The wheel's headers declare it beside much that they do not define.
namespace xla::ffi {
const XLA_FFI_Api* GetXlaFfiApi();
}

namespace tensorflow {
namespace {

constexpr char kCallTarget[] = "Conv2DBackpropFilterV2";

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
    // XLA pads an image that it knows only a bound of, and tells its own operations alone how much of it counts.
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

// The priority is above that of the convolution.
REGISTER_KERNEL_BUILDER(Name(kCallTarget).Device(DEVICE_CPU_XLA_JIT).Priority(2), EngineOp);

}  // namespace
}  // namespace tensorflow
