#ifndef TF_OPS_WGRAD_CPU_TRANSPOSE_H_
#define TF_OPS_WGRAD_CPU_TRANSPOSE_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/isa.h"

namespace wgrad {

TransposeMatrix TransposeOf(const Isa& isa, int64_t element_size);

// Copies an image tensor from NCHW to NHWC; `pixels` is height * width.
void TransposeToNHWC(const Isa& isa, int64_t element_size, int64_t batch, int64_t channels, int64_t pixels,
                     const void* from, void* to, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_TRANSPOSE_H_
