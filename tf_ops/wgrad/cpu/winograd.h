#ifndef TF_OPS_WGRAD_CPU_WINOGRAD_H_
#define TF_OPS_WGRAD_CPU_WINOGRAD_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Tiles that are summed in registers. Longer runs of the float32 sums cost accuracy: 128 give 1.5 times the error
// of 64.
inline constexpr int64_t kMaxWinogradRun = 64;

// Fills plan->winograd and the workspace sizes; `problem` is 3 x 3, stride 1 or 2.
void PlanWinograd(const Problem& problem, const Isa& isa, Plan* plan);

// NHWC only. Returns whether dW is right: other elements than those of the definition may be Inf or NaN, or the
// products may have cancelled. `shared` and `workers` (plan.worker_bytes for each worker) are 64-byte aligned.
bool RunWinograd(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                 void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_WINOGRAD_H_
