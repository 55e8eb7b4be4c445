#include "tf_ops/wgrad/cpu/plan.h"

#include <string>

#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/ranges.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

// A candidate fills the plan, or gives the reason why it declines. A forced one declines only what it cannot do; an
// unforced one also what another does faster.
using Candidate = const char* (*)(const Problem& problem, const Isa& isa, bool forced, Plan* plan);

constexpr size_t kMaxWorkerBytes = 16 << 20;

bool IsEmpty(const Problem& p) { return OutputElements(p) == 0 || InputElements(p) == 0; }

// Pairs of an output pixel and a tap that lies inside X, for one image.
int64_t PixelTaps(const Problem& p) {
  int64_t rows = 0, columns = 0;
  for (int64_t kh = 0; kh < p.filter_height; ++kh) {
    const Range seen = OutputsInside(kh * p.dilation_height - p.pad_top, p.stride_height, p.in_height, p.out_height);
    rows += seen.end - seen.begin;
  }
  for (int64_t kw = 0; kw < p.filter_width; ++kw) {
    const Range seen = OutputsInside(kw * p.dilation_width - p.pad_left, p.stride_width, p.in_width, p.out_width);
    columns += seen.end - seen.begin;
  }
  return rows * columns;
}

// Cycles for each input and output channel, on a processor with 16 multiply-adds a cycle. The direct algorithm runs at
// 85 % of that. Winograd's 36 products of a tile run at the same rate, and each partial sum costs 35 cycles to store
// the products and to turn them into taps: measured, the two meet at 7 x 7 pixels (batch 1).
bool WinogradPays(const Problem& p, const WinogradPlan& plan) {
  constexpr double kRate = 16 * 0.85, kProductsToTaps = 35;
  const double direct = static_cast<double>(p.batch * PixelTaps(p)) / kRate;
  const double winograd = static_cast<double>(plan.tiles * 36) / kRate + kProductsToTaps * plan.partial_sums;
  return winograd < direct;
}

const char* Winograd(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  if (IsEmpty(p)) return "there is nothing to sum";
  if (p.filter_height != 3 || p.filter_width != 3) return "the filter is not 3 x 3";
  if (p.stride_height != 1 || p.stride_width != 1) return "the stride is not 1";
  if (p.groups != 1) return "the problem is grouped";
  // The transforms work on whole vectors of channels: at 1 channel they only keep up with the direct algorithm, at 3
  // they are 1.2 times as fast.
  if (!forced && p.in_channels < 3) return "the transforms would work on vectors of almost no channels";
  plan->reason = "3 x 3 taps of stride 1 from 36 products for 16 pixels instead of 144";
  PlanWinograd(p, isa, plan);
  if (!forced && !WinogradPays(p, plan->winograd)) return "for so few pixels the transforms cost more than they save";
  return nullptr;
}

const char* Depthwise(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  if (IsEmpty(p)) return "there is nothing to sum";
  if (p.groups == 1) return "the problem has one group";
  const int64_t lanes = isa.vector_bytes / (p.dtype == DataType::kFloat64 ? sizeof(double) : sizeof(float));
  // Groups of 8 x 8 channels, which fill a vector: 25 GFLOP/s directly, 12 here.
  if (!forced && p.filter_channels >= 4 && p.out_channels / p.groups >= lanes) {
    return "each group fills the direct algorithm's vectors";
  }
  // Strips hold the padding; the sums of their sizes must not overflow either.
  constexpr int64_t kMaxReach = 1 << 16;
  if ((p.filter_height - 1) * p.dilation_height > kMaxReach || (p.filter_width - 1) * p.dilation_width > kMaxReach) {
    return "the dilated filter is too large for a strip in the caches";
  }
  plan->reason = "groups too thin for the direct algorithm's vectors";
  PlanDepthwise(p, isa, plan);
  return nullptr;
}

const char* FusedDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (IsEmpty(p)) return "there is nothing to sum";
  if (!CanFuseColumns(p)) return "the filter's columns do not lie in one run with the channels";
  if (p.in_channels >= 16) return "the channels alone fill the rows of a tile";
  plan->reason = "few channels: a row of the filter is one run of columns and channels";
  PlanDirect(p, isa, true, plan);
  return nullptr;
}

const char* Direct(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (IsEmpty(p)) return "there is nothing to sum";
  plan->reason = "implicit GEMM over packed pixels, tap by tap";
  PlanDirect(p, isa, false, plan);
  return nullptr;
}

const char* Reference(const Problem&, const Isa&, bool, Plan* plan) {
  plan->reason = "the definition, which takes every problem";
  plan->transpose = false;
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

Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& isa, Plan* plan,
                const std::function<void(Algorithm, const char*)>& declined) {
  const bool forced = algorithm != Algorithm::kAuto;
  const char* reason = "";
  for (const Entry& entry : kCandidates) {
    if (forced && algorithm != entry.algorithm) continue;
    *plan = Plan();
    plan->algorithm = entry.algorithm;
    plan->isa = &isa;
    plan->transpose = problem.layout == Layout::kNCHW;
    reason = entry.candidate(problem, isa, forced, plan);
    if (reason == nullptr && plan->worker_bytes > kMaxWorkerBytes) reason = "a thread would need more than 16 MiB";
    if (reason == nullptr) return Status();
    if (declined) declined(entry.algorithm, reason);
  }
  return InvalidArgument(std::string("algorithm '") + Name(algorithm) + "' cannot compute this problem: " + reason);
}

void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan) {
  *plan = Plan();
  plan->algorithm = Algorithm::kDirect;
  plan->isa = &isa;
  Direct(problem, isa, true, plan);
}

}  // namespace wgrad
