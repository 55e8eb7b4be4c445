#include "tf_ops/kernels/filter_gradient_op.h"

#include <vector>

#include "tf_ops/kernels/attributes.h"

namespace tensorflow {
namespace {

std::vector<int64_t> Sizes(const Tensor& tensor) {
  const auto sizes = tensor.shape().dim_sizes();
  return {sizes.begin(), sizes.end()};
}

}  // namespace

FilterGradientOp::FilterGradientOp(OpKernelConstruction* construction)
    : OpKernel(construction), dtype_(DataTypeOf(construction->output_type(0))) {
  OP_REQUIRES_OK(construction, ReadAttributes(construction, &attributes_));
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
