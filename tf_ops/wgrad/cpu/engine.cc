#include "tf_ops/wgrad/cpu/engine.h"

#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/cpu/reference.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

// `exact` receives whether every Inf and NaN of dW is one of the definition.
Status RunPlan(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
               void* filter_backprop, Executor* executor, Scratch* scratch, bool* exact) {
  *exact = true;
  char* shared = nullptr;
  const size_t bytes = plan.shared_bytes + plan.worker_bytes * executor->workers();
  if (bytes > 0) {
    shared = static_cast<char*>(scratch->Allocate(bytes));
    if (shared == nullptr) {
      return Status(Code::kResourceExhausted, "cannot allocate " + std::to_string(bytes) + " bytes of scratch memory");
    }
  }
  char* workers = shared + plan.shared_bytes;
  switch (plan.algorithm) {
    case Algorithm::kDirect:
      *exact = RunDirect(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      break;
    case Algorithm::kWinograd:
      *exact = RunWinograd(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      break;
    case Algorithm::kDepthwise:
      *exact = RunDepthwise(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      break;
    default:
      ReferenceFilterGradient(problem, input, out_backprop, filter_backprop, executor);
  }
  return Status();
}

}  // namespace

Status ComputeFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Algorithm algorithm, Executor* executor, Scratch* scratch, Algorithm* ran) {
  Plan plan;
  Status status = MakePlan(problem, algorithm, BestIsa(), &plan);
  if (!status.ok()) return status;
  if (ran != nullptr) *ran = plan.algorithm;
  bool exact;
  status = RunPlan(problem, plan, input, out_backprop, filter_backprop, executor, scratch, &exact);
  if (!status.ok() || exact) return status;

  // An Inf or NaN, or an overflow on the way, may have reached elements of dW that the definition keeps apart from it.
  MakeExactPlan(problem, BestIsa(), &plan);
  if (ran != nullptr) *ran = plan.algorithm;
  return RunPlan(problem, plan, input, out_backprop, filter_backprop, executor, scratch, &exact);
}

}  // namespace wgrad
