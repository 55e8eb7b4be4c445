#include "tf_ops/xla/convolution_op.h"

#include <vector>

#include "tensorflow/compiler/tf2xla/kernels/conv_op_helpers.h"
#include "tensorflow/compiler/tf2xla/xla_helpers.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tf_ops/kernels/attributes.h"
#include "xla/shape_util.h"

namespace tensorflow {
namespace {

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

// With zeros for the images that are not there, if XLA knows no more than a bound of their number. XLA's own way of
// leaving them out forgets it in a convolution with groups (2.21), and the engine has none.
xla::XlaOp WithZerosUpToTheBound(xla::XlaOp x, DataType dtype, xla::Shape* shape) {
  if (!shape->is_dynamic_dimension(0)) return x;
  const xla::XlaOp images = xla::GetDimensionSize(x, 0);
  shape->set_dynamic_dimension(0, false);
  x = xla::RemoveDynamicDimension(x, 0);
  const xla::XlaOp image =
      xla::Iota(x.builder(), xla::ShapeUtil::ChangeElementType(*shape, xla::PrimitiveType::S32), 0);
  const xla::XlaOp zeros = xla::Broadcast(XlaHelpers::Zero(x.builder(), dtype), shape->dimensions());
  return xla::Select(xla::Lt(image, xla::Broadcast(images, shape->dimensions())), x, zeros);
}

}  // namespace

ConvolutionOp::ConvolutionOp(OpKernelConstruction* construction)
    : XlaOpKernel(construction), dtype_(DataTypeOf(construction->output_type(0))) {
  OP_REQUIRES_OK(construction, ReadAttributes(construction, &attributes_));
}

void ConvolutionOp::Compile(XlaOpKernelContext* context) {
  OP_REQUIRES_VALUE(xla::Shape input, context, context->InputXlaShape(0));
  OP_REQUIRES_VALUE(const xla::Shape filter, context, context->InputXlaShape(1));
  OP_REQUIRES_VALUE(xla::Shape out_backprop, context, context->InputXlaShape(2));
  wgrad::Problem problem;
  OP_REQUIRES_OK(context, ToTensorFlow(wgrad::MakeProblem(dtype_, attributes_, Sizes(input), Sizes(filter),
                                                          Sizes(out_backprop), &problem)));
  if (wgrad::HasNoProducts(problem) || wgrad::FilterElements(problem) == 0) {
    context->SetOutput(
        0, xla::Broadcast(XlaHelpers::Zero(context->builder(), context->input_type(0)), filter.dimensions()));
    return;
  }
  const xla::XlaOp x = WithZerosUpToTheBound(context->Input(0), context->input_type(0), &input);
  const xla::XlaOp dy = WithZerosUpToTheBound(context->Input(2), context->input_type(2), &out_backprop);
  OP_REQUIRES_VALUE(const xla::XlaOp filter_backprop, context,
                    Lower(context->builder(), {x, dy}, {input, out_backprop}, filter));
  context->SetOutput(0, filter_backprop);
}

absl::StatusOr<xla::XlaOp> ConvolutionOp::Lower(xla::XlaBuilder*, absl::Span<const xla::XlaOp> operands,
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

// Registered as kernels of the compilation devices, not with REGISTER_XLA_OP: what that registers XLA reads only until
// it compiles its first program, which may be before this library is loaded, and of an op it takes one lowering alone,
// though a later TensorFlow may have its own. A priority above the default wins over that.
REGISTER_KERNEL_BUILDER(Name("Conv2DBackpropFilterV2").Device(DEVICE_CPU_XLA_JIT).Priority(1), ConvolutionOp);
REGISTER_KERNEL_BUILDER(Name("Conv2DBackpropFilterV2").Device(DEVICE_GPU_XLA_JIT).Priority(1), ConvolutionOp);
// As what the engine falls back to, by the label that tests/test_xla.py asks for it with.
REGISTER_KERNEL_BUILDER(Name("Conv2DBackpropFilterV2").Device(DEVICE_CPU_XLA_JIT).Label("convolution"), ConvolutionOp);

}  // namespace tensorflow
