#include "tf_ops/kernels/attributes.h"

#include <string>

namespace tensorflow {
namespace {

wgrad::Padding PaddingOf(const std::string& name) {
  if (name == "SAME") return wgrad::Padding::kSame;
  return name == "VALID" ? wgrad::Padding::kValid : wgrad::Padding::kExplicit;
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

absl::Status ReadAttributes(OpKernelConstruction* construction, wgrad::ConvAttributes* attributes) {
  std::string padding, data_format;
  TF_RETURN_IF_ERROR(construction->GetAttr("strides", &attributes->strides));
  attributes->dilations.clear();  // GetAttr appends
  TF_RETURN_IF_ERROR(construction->GetAttr("dilations", &attributes->dilations));
  TF_RETURN_IF_ERROR(construction->GetAttr("padding", &padding));
  TF_RETURN_IF_ERROR(construction->GetAttr("explicit_paddings", &attributes->explicit_paddings));
  TF_RETURN_IF_ERROR(construction->GetAttr("data_format", &data_format));
  attributes->padding = PaddingOf(padding);
  attributes->layout = data_format == "NHWC" ? wgrad::Layout::kNHWC : wgrad::Layout::kNCHW;
  return ToTensorFlow(wgrad::ValidateAttributes(*attributes));
}

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

}  // namespace tensorflow
