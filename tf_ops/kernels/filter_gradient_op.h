// What the CPU and the GPU kernel of Conv2DBackpropFilterV2 share: attributes, shapes and the output.
#ifndef TF_OPS_KERNELS_FILTER_GRADIENT_OP_H_
#define TF_OPS_KERNELS_FILTER_GRADIENT_OP_H_

#include "tensorflow/core/framework/op_kernel.h"
#include "tf_ops/wgrad/problem.h"

namespace tensorflow {

class FilterGradientOp : public OpKernel {
 public:
  explicit FilterGradientOp(OpKernelConstruction* construction);
  void Compute(OpKernelContext* context) final;

 private:
  // Writes all of `filter_backprop`, which has at least one element.
  virtual absl::Status ComputeGradient(OpKernelContext* context, const wgrad::Problem& problem, const Tensor& input,
                                       const Tensor& out_backprop, Tensor* filter_backprop) = 0;

  const wgrad::DataType dtype_;
  wgrad::ConvAttributes attributes_;
};

}  // namespace tensorflow

#endif  // TF_OPS_KERNELS_FILTER_GRADIENT_OP_H_
