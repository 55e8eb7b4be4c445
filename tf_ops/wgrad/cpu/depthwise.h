#ifndef TF_OPS_WGRAD_CPU_DEPTHWISE_H_
#define TF_OPS_WGRAD_CPU_DEPTHWISE_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Fills plan->depthwise, the tasks and the workspace sizes. For problems of one channel and one filter to a group that
// have at least one vector of channels.
void PlanDepthwise(const Problem& problem, Plan* plan);

// NHWC only. Every Inf and NaN of dW is one of the definition. `shared` and `workers` (plan.worker_bytes for each
// worker) are 64-byte aligned.
void RunDepthwise(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_DEPTHWISE_H_
