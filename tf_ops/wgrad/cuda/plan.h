// Which kernel computes a problem, and why: a pure function of the problem, the device's properties and the options.
#ifndef TF_OPS_WGRAD_CUDA_PLAN_H_
#define TF_OPS_WGRAD_CUDA_PLAN_H_

#include <string>
#include <vector>

#include "tf_ops/wgrad/cuda/instances.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

struct Device {
  int compute_capability;  // 10 * major + minor
  int multiprocessors;
};

inline constexpr int kTf32ComputeCapability = 80;

struct Options {
  bool allow_tf32 = true;          // may round float32 operands to tf32
  int64_t pointer_alignment = 16;  // bytes; X, dY and dW start at a multiple of it
};

enum class Method : int32_t { kZeros, kImplicitGemm, kDepthwise, kGeneral };

inline constexpr const char* kMethodNames[] = {"zeros", "implicit_gemm", "depthwise", "general"};

struct Plan {
  Method method = Method::kZeros;
  InstanceId instance = {};      // of the implicit GEMM
  int64_t slices = 1;            // split-K slices in a round
  int64_t images_per_round = 0;  // a round computes these images' slices and adds them to the rounds' before
  bool in_clusters = false;      // the blocks of a cluster add up the slices of a tile
  bool repair = false;           // compute again, by the definition, what zeros for padding or tf32 may have spoiled
  std::string reason;
};

bool UsesWgmma(const Plan& plan);

// Whether the plan's kernel writes the filter gradient, which others make of its slices; and whether there are slices
// in memory even so.
bool WritesResult(const Problem& problem, const Plan& plan);
bool KeepsSlices(const Problem& problem, const Plan& plan);

// Whether the plan's kernel reads copies of X and dY in NHWC.
bool ReadsNhwcCopies(const Problem& problem, const Plan& plan);

// Whether the plan's kernel reads a folded X, and the problem that it sees: fold.h.
bool Folds(const Plan& plan, const Problem& problem);
Problem SeenBy(const Plan& plan, const Problem& problem);

struct Declined {
  std::string candidate;  // a method's or an instance's name
  std::string reason;
};

// An error where the device is older than `oldest`, the compute capability of the oldest code in the build: no kernel
// of it would start.
Status CheckDevice(const Device& device, int oldest);

// Of one element of a slice.
int64_t SumBytes(DataType dtype);

// The most pixels in one chain of sums that accuracy allows.
int64_t MaxChainPixels(Math math, DataType dtype);

// At least one plan: the first is what runs without measuring, the others are worth measuring against it.
std::vector<Plan> MakePlans(const Problem& problem, const Device& device, const Options& options,
                            std::vector<Declined>* declined = nullptr);

// The general kernel, which takes any problem.
Plan GeneralPlan(const Problem& problem, const Device& device);

// The same with as few slices as accuracy allows, which needs the least memory of all plans.
Plan FrugalPlan(const Problem& problem, const Device& device);

// Byte offsets into one piece of device memory of `bytes` bytes, each a multiple of 256.
struct Workspace {
  int64_t input = 0, out_backprop = 0;  // NHWC copies of a round's images, when the tensors are NCHW
  int64_t folded = 0;                   // the folded copy of a round's X
  int64_t carry = 0;                    // sums of the rounds before
  int64_t slices = 0;
  int64_t bytes = 0;
};

Workspace WorkspaceOf(const Problem& problem, const Plan& plan);

// A JSON object: "method", "instance" (or null), "slices", "rounds", "in_clusters", "repair", "workspace_bytes",
// "reason".
std::string Describe(const Problem& problem, const Plan& plan);

// Whether some window reaches outside X. There 0 * Inf in a product with zeros put in makes a NaN that the definition,
// which leaves such taps out, does not have.
bool ReadsPadding(const Problem& problem);

// The problem over `images` of its images.
Problem ImagesOf(const Problem& problem, int64_t images);

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_PLAN_H_
