#ifndef TF_OPS_WGRAD_CPU_THIN_GROUPS_H_
#define TF_OPS_WGRAD_CPU_THIN_GROUPS_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Fills plan->thin_groups and the workspace sizes.
void PlanThinGroups(const Problem& problem, const Isa& isa, Plan* plan);

// NHWC only. Returns whether dW is finite; if not, an Inf or NaN may have met the zeros of the padding.
// `shared` and `workers` (plan.worker_bytes for each worker) are 64-byte aligned.
bool RunThinGroups(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                   void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_THIN_GROUPS_H_
