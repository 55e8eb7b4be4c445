#ifndef TF_OPS_WGRAD_CPU_FINITE_H_
#define TF_OPS_WGRAD_CPU_FINITE_H_

#include "tf_ops/wgrad/cpu/engine.h"

namespace wgrad {

// Whether none of the `count` elements is infinite or NaN.
bool AllFinite(DataType dtype, const void* elements, int64_t count, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_FINITE_H_
