#include "tf_ops/wgrad/cpu/plan.h"

#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

// A candidate fills the plan, or gives the reason why it declines.
using Candidate = const char* (*)(const Problem& problem, const Isa& isa, Plan* plan);

const char* Direct(const Problem& problem, const Isa& isa, Plan* plan) {
  if (OutputElements(problem) == 0 || InputElements(problem) == 0) return "nothing to sum";
  plan->reason = "implicit GEMM over packed pixels";
  PlanDirect(problem, isa, false, plan);
  return nullptr;
}

const char* FusedDirect(const Problem& problem, const Isa& isa, Plan* plan) {
  if (const char* declined = Direct(problem, isa, plan)) return declined;
  if (problem.in_channels >= 16) return "the channels fill a tile's rows";
  if (!CanFuseColumns(problem)) return "the filter's columns do not lie in a run";
  plan->reason = "few channels: a row of the filter is one run of columns and channels";
  PlanDirect(problem, isa, true, plan);
  return nullptr;
}

const char* Winograd(const Problem& problem, const Isa& isa, Plan* plan) {
  if (OutputElements(problem) == 0 || InputElements(problem) == 0) return "nothing to sum";
  if (problem.filter_height != 3 || problem.filter_width != 3) return "the filter is not 3 x 3";
  if (problem.stride_height != 1 || problem.stride_width != 1) return "the stride is not 1";
  if (problem.groups != 1) return "the problem is grouped";
  plan->reason = "3 x 3 taps of stride 1 from 36 products instead of 144";
  PlanWinograd(problem, isa, plan);
  return nullptr;
}

const char* Depthwise(const Problem& problem, const Isa& isa, Plan* plan) {
  if (OutputElements(problem) == 0 || InputElements(problem) == 0) return "nothing to sum";
  if (problem.groups == 1) return "the problem has one group";
  const int64_t lanes = isa.vector_bytes / (problem.dtype == DataType::kFloat64 ? 8 : 4);
  if (problem.filter_channels >= 4 && problem.out_channels / problem.groups >= lanes) {
    return "each group fills a tile of the direct algorithm";
  }
  plan->reason = "groups too thin for the direct algorithm's tiles";
  PlanDepthwise(problem, isa, plan);
  return nullptr;
}

const char* Reference(const Problem&, const Isa&, Plan* plan) {
  plan->transpose = false;
  plan->reason = "takes every problem";
  return nullptr;
}

struct Entry {
  Algorithm algorithm;
  Candidate candidate;
};

// In the order of preference; the reference takes what all others decline.
constexpr Entry kCandidates[] = {
    {Algorithm::kWinograd, Winograd}, {Algorithm::kDepthwise, Depthwise}, {Algorithm::kDirect, FusedDirect},
    {Algorithm::kDirect, Direct},     {Algorithm::kReference, Reference},
};

}  // namespace

Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& isa, Plan* plan) {
  const char* declined = "it is not an algorithm of the CPU engine";
  for (const Entry& entry : kCandidates) {
    if (algorithm != Algorithm::kAuto && algorithm != entry.algorithm) continue;
    *plan = Plan();
    plan->algorithm = entry.algorithm;
    plan->isa = &isa;
    plan->transpose = problem.layout == Layout::kNCHW;
    declined = entry.candidate(problem, isa, plan);
    if (declined == nullptr) return Status();
  }
  return InvalidArgument(std::string("algorithm '") + Name(algorithm) + "' cannot compute this problem: " + declined);
}

void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan) {
  *plan = Plan();
  plan->isa = &isa;
  plan->transpose = problem.layout == Layout::kNCHW;
  plan->algorithm = Algorithm::kDirect;
  Direct(problem, isa, plan);
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
         ", \"per_worker\": " + std::to_string(plan.worker_bytes) + "}, \"tasks\": " + std::to_string(plan.tasks) +
         ", \"declined\": [" + declined + "]}";
}

std::string DescribeCpu() {
  return std::string("{\"isa\": \"") + BestIsa().name +
         "\", \"vector_bits\": " + std::to_string(BestIsa().vector_bytes * 8) + "}";
}

}  // namespace wgrad
