// What TensorFlow says of one Conv2DBackpropFilterV2, in the engines' terms.
#ifndef TF_OPS_KERNELS_ATTRIBUTES_H_
#define TF_OPS_KERNELS_ATTRIBUTES_H_

#include "tensorflow/core/framework/op_kernel.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace tensorflow {

absl::Status ToTensorFlow(const wgrad::Status& status);

// Reads and validates the attributes of the op that `construction` is for.
absl::Status ReadAttributes(OpKernelConstruction* construction, wgrad::ConvAttributes* attributes);

// `dtype` is one that the op takes.
wgrad::DataType DataTypeOf(DataType dtype);

}  // namespace tensorflow

#endif  // TF_OPS_KERNELS_ATTRIBUTES_H_
