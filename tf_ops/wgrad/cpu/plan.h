// Which algorithm computes a problem, and why: a pure function of the problem and the processor's properties.
#ifndef TF_OPS_WGRAD_CPU_PLAN_H_
#define TF_OPS_WGRAD_CPU_PLAN_H_

#include <string>

#include "tf_ops/wgrad/cpu/algorithm.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// A JSON object: "algorithm", "reason", "isa", "blocking" (object), "workspace_bytes" (object: "shared", "per_worker"),
// "tasks", and "declined" (list of {"algorithm", "reason"}).
std::string ExplainPlan(const Problem& problem, Algorithm algorithm);

// A JSON object: "isa", "vector_bits", "l1d_bytes", "l2_bytes", "l3_bytes", "native_bfloat16_dot".
std::string DescribeCpu();

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_PLAN_H_
