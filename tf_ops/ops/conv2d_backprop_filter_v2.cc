// The op's definition, for a TensorFlow that lacks it. Where TensorFlow has one, a second would be fatal to a program
// that links or opens this library by other means than tf.load_op_library.
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def_builder.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tensorflow {
namespace {

using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

absl::Status FilterShape(InferenceContext* context) {
  ShapeHandle shape;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 4, &shape));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(2), 4, &shape));
  TF_RETURN_IF_ERROR(context->WithRank(context->input(1), 4, &shape));
  context->set_output(0, shape);
  return absl::OkStatus();
}

absl::Status Define(OpRegistrationData* op) {
  return OpDefBuilder("Conv2DBackpropFilterV2")
      .Input("input: T")
      .Input("filter: T")
      .Input("out_backprop: T")
      .Output("output: T")
      .Attr("T: {half, bfloat16, float, double}")
      .Attr("strides: list(int)")
      .Attr("use_cudnn_on_gpu: bool = true")
      .Attr("padding: {'SAME', 'VALID', 'EXPLICIT'}")
      .Attr("explicit_paddings: list(int) = []")
      .Attr("data_format: {'NHWC', 'NCHW'} = 'NHWC'")
      .Attr("dilations: list(int) = [1, 1, 1, 1]")
      .SetShapeFn(FilterShape)
      .Finalize(op);
}

[[maybe_unused]] const bool defined_here = [] {
  OpRegistry* registry = OpRegistry::Global();
  if (registry->LookUp("Conv2DBackpropFilterV2") != nullptr) return false;
  registry->Register(Define);
  return true;
}();

}  // namespace
}  // namespace tensorflow
