#ifndef TF_OPS_WGRAD_CPU_POINTWISE_H_
#define TF_OPS_WGRAD_CPU_POINTWISE_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Whether a pointwise problem has so few input channels that its tensors had better be read where they lie, with every
// instruction set.
bool HasFewChannels(const Problem& problem);

// Whether the second-level cache holds the pixels that are multiplied and those that come next.
bool BlocksFitInCache(const Problem& problem);

// Fills plan->pointwise, the tasks and the workspace sizes. For pointwise problems whose output channels, rounded up to
// whole vectors, are no more than those of two pixels.
void PlanPointwise(const Problem& problem, const Isa& isa, Plan* plan);

// NHWC only. Every Inf and NaN of dW is one of the definition. `shared` and `workers` (plan.worker_bytes for each
// worker) are 64-byte aligned.
void RunPointwise(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_POINTWISE_H_
