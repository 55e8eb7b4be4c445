// How TensorFlow's kernel and XLA's custom call both run the CPU engine.
#ifndef TF_OPS_KERNELS_CPU_ENGINE_H_
#define TF_OPS_KERNELS_CPU_ENGINE_H_

#include "tf_ops/wgrad/cpu/engine.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace tensorflow {

// wgrad::ComputeFilterGradient with the algorithm that the process asks for; the run is counted, and a profile names
// the algorithm that ran.
wgrad::Status RunCpuEngine(const wgrad::Problem& problem, const void* input, const void* out_backprop,
                           void* filter_backprop, wgrad::Executor* executor, wgrad::Scratch* scratch);

}  // namespace tensorflow

#endif  // TF_OPS_KERNELS_CPU_ENGINE_H_
