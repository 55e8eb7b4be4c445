#include "tf_ops/kernels/filter_gradient_op.h"

#include <string>
#include <vector>

namespace tensorflow {
namespace {

wgrad::DataType DataTypeOf(DataType dtype) {
  switch (dtype) {
    case DT_HALF:
      return wgrad::DataType::kFloat16;
    case DT_BFLOAT16:
      return wgrad::DataType::kBFloat16;
    case DT_DOUBLE:
      return wgrad::DataType::kFloat64;
    default:  // the op takes no other
      return wgrad::DataType::kFloat32;
  }
}

wgrad::Padding PaddingOf(const std::string& name) {
  if (name == "SAME") return wgrad::Padding::kSame;
  return name == "VALID" ? wgrad::Padding::kValid : wgrad::Padding::kExplicit;
}

std::vector<int64_t> Sizes(const Tensor& tensor) {
  const auto sizes = tensor.shape().dim_sizes();
  return {sizes.begin(), sizes.end()};
}

}  // namespace

absl::Status ToTensorFlow(const wgrad::Status& status) {
  switch (status.code()) {
    case wgrad::Code::kOk:
      return absl::OkStatus();
    case wgrad::Code::kInvalidArgument:
      return absl::InvalidArgumentError(status.message());
    case wgrad::Code::kResourceExhausted:
      return absl::ResourceExhaustedError(status.message());
    case wgrad::Code::kUnimplemented:
      return absl::UnimplementedError(status.message());
    case wgrad::Code::kInternal:
      break;
  }
  return absl::InternalError(status.message());
}

FilterGradientOp::FilterGradientOp(OpKernelConstruction* construction) : OpKernel(construction) {
  std::string padding, data_format;
  OP_REQUIRES_OK(construction, construction->GetAttr("strides", &attributes_.strides));
  attributes_.dilations.clear();  // GetAttr appends
  OP_REQUIRES_OK(construction, construction->GetAttr("dilations", &attributes_.dilations));
  OP_REQUIRES_OK(construction, construction->GetAttr("padding", &padding));
  OP_REQUIRES_OK(construction, construction->GetAttr("explicit_paddings", &attributes_.explicit_paddings));
  OP_REQUIRES_OK(construction, construction->GetAttr("data_format", &data_format));
  attributes_.padding = PaddingOf(padding);
  attributes_.layout = data_format == "NHWC" ? wgrad::Layout::kNHWC : wgrad::Layout::kNCHW;
  dtype_ = DataTypeOf(construction->output_type(0));
  OP_REQUIRES_OK(construction, ToTensorFlow(wgrad::ValidateAttributes(attributes_)));
}

void FilterGradientOp::Compute(OpKernelContext* context) {
  const Tensor& input = context->input(0);
  const Tensor& filter = context->input(1);
  const Tensor& out_backprop = context->input(2);
  wgrad::Problem problem;
  OP_REQUIRES_OK(context, ToTensorFlow(wgrad::MakeProblem(dtype_, attributes_, Sizes(input), Sizes(filter),
                                                          Sizes(out_backprop), &problem)));
  Tensor* filter_backprop = nullptr;
  OP_REQUIRES_OK(context, context->allocate_output(0, filter.shape(), &filter_backprop));
  if (filter_backprop->NumElements() == 0) return;
  OP_REQUIRES_OK(context, ComputeGradient(context, problem, input, out_backprop, filter_backprop));
}

}  // namespace tensorflow
