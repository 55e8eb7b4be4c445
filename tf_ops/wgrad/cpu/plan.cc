#include "tf_ops/wgrad/cpu/plan.h"

#include "tf_ops/wgrad/cpu/direct.h"

namespace wgrad {
namespace {

// A candidate fills the plan, or gives the reason why it declines.
using Candidate = const char* (*)(const Problem& problem, const Isa& isa, Plan* plan);

const char* Direct(const Problem& problem, const Isa& isa, Plan* plan) {
  if (problem.layout != Layout::kNHWC) return "reads NHWC only";
  if (OutputElements(problem) == 0 || InputElements(problem) == 0) return "nothing to sum";
  plan->reason = "implicit GEMM over packed pixels";
  PlanDirect(problem, isa, false, plan);
  return nullptr;
}

const char* Reference(const Problem&, const Isa&, Plan* plan) {
  plan->reason = "takes every problem";
  plan->shared_bytes = plan->worker_bytes = 0;
  return nullptr;
}

struct Entry {
  Algorithm algorithm;
  Candidate candidate;
};

// In the order of preference; the reference takes what all others decline.
constexpr Entry kCandidates[] = {
    {Algorithm::kDirect, Direct},
    {Algorithm::kReference, Reference},
};

}  // namespace

Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& isa, Plan* plan) {
  plan->isa = &isa;
  const char* declined = "is not an algorithm of the CPU engine";
  for (const Entry& entry : kCandidates) {
    if (algorithm != Algorithm::kAuto && algorithm != entry.algorithm) continue;
    plan->algorithm = entry.algorithm;
    declined = entry.candidate(problem, isa, plan);
    if (declined == nullptr) return Status();
  }
  return InvalidArgument(std::string("algorithm '") + Name(algorithm) + "' cannot compute this problem: " + declined);
}

std::string ExplainPlan(const Problem& problem, Algorithm algorithm) {
  Plan plan;
  std::string declined;
  for (const Entry& entry : kCandidates) {
    if (algorithm != Algorithm::kAuto && algorithm != entry.algorithm) continue;
    plan = Plan();
    plan.algorithm = entry.algorithm;
    plan.isa = &BestIsa();
    const char* reason = entry.candidate(problem, BestIsa(), &plan);
    if (reason == nullptr) break;
    if (!declined.empty()) declined += ", ";
    declined += std::string("{\"algorithm\": \"") + Name(entry.algorithm) + "\", \"reason\": \"" + reason + "\"}";
  }
  return std::string("{\"algorithm\": \"") + Name(plan.algorithm) + "\", \"reason\": \"" + plan.reason +
         "\", \"isa\": \"" + BestIsa().name +
         "\", \"blocking\": {}, \"workspace_bytes\": {\"shared\": " + std::to_string(plan.shared_bytes) +
         ", \"per_worker\": " + std::to_string(plan.worker_bytes) +
         "}, \"tasks\": " + std::to_string(plan.direct.tasks) + ", \"declined\": [" + declined + "]}";
}

std::string DescribeCpu() {
  return std::string("{\"isa\": \"") + BestIsa().name +
         "\", \"vector_bits\": " + std::to_string(BestIsa().vector_bytes * 8) + "}";
}

}  // namespace wgrad
