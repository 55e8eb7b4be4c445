#ifndef TF_OPS_WGRAD_CPU_REFERENCE_H_
#define TF_OPS_WGRAD_CPU_REFERENCE_H_

#include "tf_ops/wgrad/cpu/engine.h"

namespace wgrad {

// Any type, layout, stride, dilation, padding and group count; no scratch memory.
void ReferenceFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_REFERENCE_H_
