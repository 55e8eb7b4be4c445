// The engine in plain C, for tests/gpu, which calls it through ctypes. Not part of the plugin.
#ifndef TF_OPS_WGRAD_CUDA_C_API_H_
#define TF_OPS_WGRAD_CUDA_C_API_H_

#include <stdint.h>

#include "tf_ops/wgrad/problem.h"

#define WGRAD_CUDA_EXPORT extern "C" __attribute__((visibility("default")))

// Which of a problem's plans, and what to change in it. Zero leaves what was planned.
struct WgradCudaChoice {
  int32_t allow_tf32;
  int32_t plan;  // index into the list of wgrad_cuda_plans
  int64_t pointer_alignment;
  int64_t slices;
  int64_t images_per_round;
  int32_t clusters;  // 1: sum the slices in clusters, if they can form some, 2: at the end
};

struct WgradCudaTensors {
  const void* input;
  const void* out_backprop;
  void* filter_backprop;
  void* stream;  // cudaStream_t
};

// Memory of the current device, or null.
typedef void* (*WgradCudaAllocate)(int64_t bytes);

// A JSON list of plan.h's Describe, or null and wgrad_cuda_error. Valid until the same thread's next call.
WGRAD_CUDA_EXPORT const char* wgrad_cuda_plans(const wgrad::Problem* problem, const WgradCudaChoice* choice);
// Bytes, or -1.
WGRAD_CUDA_EXPORT int64_t wgrad_cuda_workspace_bytes(const wgrad::Problem* problem, const WgradCudaChoice* choice);
// Returns 0, or 1 and wgrad_cuda_error.
WGRAD_CUDA_EXPORT int wgrad_cuda_launch(const wgrad::Problem* problem, const WgradCudaChoice* choice,
                                        const WgradCudaTensors* tensors, void* workspace);
// dispatch.h's ComputeFilterGradient: the name of what ran, or null and wgrad_cuda_error.
WGRAD_CUDA_EXPORT const char* wgrad_cuda_compute(const wgrad::Problem* problem, int allow_tf32, int use_cudnn,
                                                 int deterministic, const WgradCudaTensors* tensors,
                                                 WgradCudaAllocate allocate);
// What the same thread's last failed call ran into.
WGRAD_CUDA_EXPORT const char* wgrad_cuda_error();

#endif  // TF_OPS_WGRAD_CUDA_C_API_H_
