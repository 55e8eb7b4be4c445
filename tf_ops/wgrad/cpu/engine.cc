#include "tf_ops/wgrad/cpu/engine.h"

#include <cstring>

#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/cpu/reference.h"

namespace wgrad {

Status ComputeFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Algorithm algorithm, Executor* executor, Scratch* scratch, Algorithm* ran) {
  Plan plan;
  Status status = MakePlan(problem, algorithm, BestIsa(), &plan);
  if (!status.ok()) return status;
  if (ran != nullptr) *ran = plan.algorithm;

  const size_t bytes = plan.shared_bytes + plan.worker_bytes * executor->workers();
  char* memory = nullptr;
  if (bytes > 0) {
    memory = static_cast<char*>(scratch->Allocate(bytes));
    if (memory == nullptr) {
      return Status(Code::kResourceExhausted, "cannot allocate " + std::to_string(bytes) + " bytes of scratch memory");
    }
  }
  switch (plan.algorithm) {
    case Algorithm::kDirect:
      RunDirect(problem, plan, input, out_backprop, filter_backprop, memory, memory + plan.shared_bytes, executor);
      break;
    default:
      ReferenceFilterGradient(problem, input, out_backprop, filter_backprop, executor);
  }
  return Status();
}

}  // namespace wgrad
