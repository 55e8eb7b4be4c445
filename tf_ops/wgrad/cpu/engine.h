// The CPU engine: computes one problem with the algorithm that plan.h chose.
#ifndef TF_OPS_WGRAD_CPU_ENGINE_H_
#define TF_OPS_WGRAD_CPU_ENGINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>

#include "tf_ops/wgrad/cpu/algorithm.h"
#include "tf_ops/wgrad/cpu/isa.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad {

// Runs tasks on somebody else's threads. The engine's results do not depend on how many there are.
class Executor {
 public:
  virtual ~Executor() = default;
  // Workers that may run at once, the caller included; at least 1.
  virtual int workers() const = 0;
  // Calls run(task, worker) once for every task in [0, tasks), worker in [0, min(tasks, workers())), and returns when
  // all are done. No two calls with the same worker overlap.
  virtual void Run(int64_t tasks, const std::function<void(int64_t task, int worker)>& run) = 0;
};

// Memory for one call; whoever implements it frees it after ComputeFilterGradient has returned.
class Scratch {
 public:
  virtual ~Scratch() = default;
  // `bytes` of 64-byte aligned memory, or nullptr when there is none to be had.
  virtual void* Allocate(size_t bytes) = 0;
};

// Writes the whole of `filter_backprop` (HWIO). `algorithm` is kAuto or the one that must run; a forced algorithm that
// cannot do the problem is kInvalidArgument with the reason. A Scratch that returns nullptr is kResourceExhausted.
// `ran`, where given, receives the algorithm that ran.
Status ComputeFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Algorithm algorithm, Executor* executor, Scratch* scratch, Algorithm* ran = nullptr,
                             const Isa& isa = BestIsa());

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_ENGINE_H_
