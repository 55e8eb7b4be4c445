#ifndef TF_OPS_WGRAD_CPU_DIRECT_H_
#define TF_OPS_WGRAD_CPU_DIRECT_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Whether bfloat16 is multiplied in pairs of pixels: twice the multiply-adds a cycle, but zeros for the pixels that a
// tap sees in the padding.
bool MultipliesPairs(const Problem& problem, const Isa& isa);

// Whether each output pixel sees the input pixel in its place, and no other.
bool IsPointwise(const Problem& problem);

// Fills plan->direct, the tasks and the workspace sizes. bf16_pairs needs isa.has_bf16_pairs() and bfloat16.
void PlanDirect(const Problem& problem, const Isa& isa, bool bf16_pairs, Plan* plan);

// NHWC only. Returns whether every Inf and NaN of dW is one of the definition. `shared` and `workers`
// (plan.worker_bytes for each worker) are 64-byte aligned.
bool RunDirect(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
               void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_DIRECT_H_
