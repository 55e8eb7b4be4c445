#ifndef TF_OPS_WGRAD_CPU_DIRECT_IN_PLACE_H_
#define TF_OPS_WGRAD_CPU_DIRECT_IN_PLACE_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace wgrad {

// Why X and dY cannot be multiplied where they lie, tap by tap, or null.
const char* WhyNotDirectInPlace(const Problem& problem, const Isa& isa);

// Fills plan->direct_in_place and the workspace sizes.
void PlanDirectInPlace(const Problem& problem, const Isa& isa, Plan* plan);

// As PixelTaps, of all images; pairs of images, which are multiplied at once, count as one.
double PixelTapsInPlace(const Problem& problem, const DirectInPlacePlan& plan);

// NHWC only. `shared` and `workers` (plan.worker_bytes for each worker) are 64-byte aligned.
void RunDirectInPlace(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                      void* filter_backprop, char* shared, char* workers, Executor* executor);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_DIRECT_IN_PLACE_H_
