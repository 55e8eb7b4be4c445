#include "tf_ops/wgrad/cpu/engine.h"

#include "tf_ops/wgrad/cpu/reference.h"

namespace wgrad {

Status ComputeFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Algorithm algorithm, Executor* executor, Scratch* scratch, Algorithm* ran) {
  if (ran != nullptr) *ran = Algorithm::kReference;
  ReferenceFilterGradient(problem, input, out_backprop, filter_backprop, executor);
  return Status();
}

}  // namespace wgrad
