// What the algorithms would take, in cycles of a processor with two multiply-adds of vectors a cycle: for those choices
// that no simple rule of the shape makes.
#ifndef TF_OPS_WGRAD_CPU_ESTIMATE_H_
#define TF_OPS_WGRAD_CPU_ESTIMATE_H_

#include "tf_ops/wgrad/cpu/isa.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// Of problems without groups: where X and dY lie, not staged, or, `exchanged` or not, from copies.
double DirectCycles(const Problem& problem, const Isa& isa, bool in_place, bool exchanged);

// Of problems with groups.
double GroupedDirectCycles(const Problem& problem, const Isa& isa);
double ThinGroupsCycles(const Problem& problem, const Isa& isa);

// Of problems with groups, and of those that are staged.
double InPlaceCycles(const Problem& problem, const Isa& isa, const DirectInPlacePlan& plan);

double WinogradCycles(const Problem& problem, const Isa& isa, const WinogradPlan& plan);

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_ESTIMATE_H_
