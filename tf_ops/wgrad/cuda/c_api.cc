#include "tf_ops/wgrad/cuda/c_api.h"

#include <iostream>
#include <string>
#include <vector>

#include "tf_ops/wgrad/cuda/device.h"
#include "tf_ops/wgrad/cuda/dispatch.h"
#include "tf_ops/wgrad/cuda/engine.h"

namespace wgrad::cuda {
namespace {

thread_local std::string last_error;
thread_local std::string last_text;

bool Succeeded(const Status& status) {
  if (!status.ok()) last_error = status.message();
  return status.ok();
}

Status Plans(const Problem& problem, const WgradCudaChoice& choice, std::vector<Plan>* plans) {
  Device device;
  int ordinal;
  const Status status = QueryDevice(&device, &ordinal);
  if (!status.ok()) return status;
  Options options;
  options.allow_tf32 = choice.allow_tf32 != 0;
  if (choice.pointer_alignment > 0) options.pointer_alignment = choice.pointer_alignment;
  *plans = MakePlans(problem, device, options);
  return Status();
}

Status Choose(const Problem& problem, const WgradCudaChoice& choice, Plan* plan) {
  std::vector<Plan> plans;
  const Status status = Plans(problem, choice, &plans);
  if (!status.ok()) return status;
  if (choice.plan < 0 || choice.plan >= static_cast<int>(plans.size())) return InvalidArgument("no such plan");
  *plan = plans[choice.plan];
  if (choice.slices > 0) plan->slices = choice.slices;
  if (choice.clusters > 0) plan->in_clusters = choice.clusters == 1;
  if (choice.images_per_round > 0) plan->images_per_round = choice.images_per_round;
  return Status();
}

}  // namespace
}  // namespace wgrad::cuda

using namespace wgrad::cuda;

const char* wgrad_cuda_plans(const wgrad::Problem* problem, const WgradCudaChoice* choice) {
  std::vector<Plan> plans;
  if (!Succeeded(Plans(*problem, *choice, &plans))) return nullptr;
  last_text = "[";
  for (const Plan& plan : plans) last_text += (last_text.size() > 1 ? ", " : "") + Describe(*problem, plan);
  last_text += "]";
  return last_text.c_str();
}

int64_t wgrad_cuda_workspace_bytes(const wgrad::Problem* problem, const WgradCudaChoice* choice) {
  Plan plan;
  return Succeeded(Choose(*problem, *choice, &plan)) ? WorkspaceOf(*problem, plan).bytes : -1;
}

int wgrad_cuda_launch(const wgrad::Problem* problem, const WgradCudaChoice* choice, const WgradCudaTensors* tensors,
                      void* workspace) {
  Plan plan;
  if (!Succeeded(Choose(*problem, *choice, &plan))) return 1;
  return !Succeeded(Launch(*problem, plan, tensors->input, tensors->out_backprop, tensors->filter_backprop, workspace,
                           tensors->stream));
}

const char* wgrad_cuda_compute(const wgrad::Problem* problem, int allow_tf32, int use_cudnn, int deterministic,
                               const WgradCudaTensors* tensors, WgradCudaAllocate allocate) {
  Settings settings;
  settings.allow_tf32 = allow_tf32 != 0;
  settings.use_cudnn = use_cudnn != 0;
  settings.deterministic = deterministic != 0;
  settings.report_no_cudnn = [](const std::string& why_not) { std::cerr << "no cuDNN: " << why_not << "\n"; };
  const wgrad::Status status = ComputeFilterGradient(
      *problem, settings, tensors->input, tensors->out_backprop, tensors->filter_backprop,
      [allocate](int64_t bytes, bool) { return allocate(bytes); }, tensors->stream, &last_text);
  return Succeeded(status) ? last_text.c_str() : nullptr;
}

const char* wgrad_cuda_error() { return last_error.c_str(); }
