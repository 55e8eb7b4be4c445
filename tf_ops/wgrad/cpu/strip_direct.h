#ifndef TF_OPS_WGRAD_CPU_STRIP_DIRECT_H_
#define TF_OPS_WGRAD_CPU_STRIP_DIRECT_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Whether the columns of the filter and the channels of X are packed as one run.
bool FusesColumns(const Problem& problem);

// Whether such runs are multiplied in pairs of bfloat16: those of a row that is a strip of its own.
bool StripMultipliesPairs(const Problem& problem, const Isa& isa);

// Fills plan->strip_direct, the tasks and the workspace sizes. For problems of which StripFits(p, 1).
void PlanStripDirect(const Problem& problem, const Isa& isa, Plan* plan);

// NHWC only. Returns whether every Inf and NaN of dW is one of the definition. `shared` and `workers`
// (plan.worker_bytes for each worker) are 64-byte aligned.
bool RunStripDirect(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                    void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_STRIP_DIRECT_H_
