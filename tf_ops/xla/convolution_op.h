#ifndef TF_OPS_XLA_CONVOLUTION_OP_H_
#define TF_OPS_XLA_CONVOLUTION_OP_H_

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tf_ops/wgrad/problem.h"

namespace tensorflow {

// Conv2DBackpropFilterV2 as XLA's convolution: the HLO that TensorFlow's own lowering of the V1 op consists of.
class ConvolutionOp : public XlaOpKernel {
 public:
  explicit ConvolutionOp(OpKernelConstruction* construction);

  void Compile(XlaOpKernelContext* context) final;

 protected:
  // `operands` and their shapes: input, out_backprop. There is something to sum, and a filter to sum it into.
  virtual absl::StatusOr<xla::XlaOp> Lower(xla::XlaBuilder* builder, absl::Span<const xla::XlaOp> operands,
                                           absl::Span<const xla::Shape> shapes, const xla::Shape& filter) const;

  const wgrad::ConvAttributes& attributes() const { return attributes_; }

 private:
  const wgrad::DataType dtype_;
  wgrad::ConvAttributes attributes_;
};

}  // namespace tensorflow

#endif  // TF_OPS_XLA_CONVOLUTION_OP_H_
