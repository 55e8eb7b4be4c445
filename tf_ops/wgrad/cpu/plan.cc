#include "tf_ops/wgrad/cpu/plan.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/ranges.h"
#include "tf_ops/wgrad/cpu/strip.h"
#include "tf_ops/wgrad/cpu/strip_direct.h"
#include "tf_ops/wgrad/cpu/thin_groups.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

// A candidate fills the plan, or gives the reason why it declines. A forced one declines only what it cannot do; an
// unforced one also what another does faster.
using Candidate = const char* (*)(const Problem& problem, const Isa& isa, bool forced, Plan* plan);

constexpr size_t kMaxWorkerBytes = 16 << 20;

// Why only the reference takes a problem, or null. 2^36 elements are 256 GiB of float32: all sizes that the plans
// compute with stay below 2^63.
const char* WhyUnplannable(const Problem& p) {
  constexpr int64_t kMaxElements = int64_t{1} << 36;
  if (std::max({InputElements(p), OutputElements(p), FilterElements(p)}) > kMaxElements) {
    return "no memory holds tensors so large";
  }
  return HasNoProducts(p) ? "there is nothing to sum" : nullptr;
}

constexpr const char* kReachesTooFar = "the stride or the dilated filter reaches too far for the caches";

constexpr const char* kMostInPadding = "almost all taps fall into the padding";

// Pairs of an output pixel and a tap that lies inside X, along one dimension: tap by tap or pixel by pixel, whichever
// are fewer.
int64_t PairsInside(int64_t taps, int64_t dilation, int64_t outputs, int64_t stride, int64_t pad, int64_t size) {
  if (taps > outputs) {
    std::swap(taps, outputs);
    std::swap(dilation, stride);
  }
  int64_t pairs = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const Range seen = OutputsInside(tap * dilation - pad, stride, size, outputs);
    pairs += seen.end - seen.begin;
  }
  return pairs;
}

// The same for one image, as a double, because it may not fit into 64 bits.
double PixelTaps(const Problem& p) {
  const double rows =
      PairsInside(p.filter_height, p.dilation_height, p.out_height, p.stride_height, p.pad_top, p.in_height);
  return rows * PairsInside(p.filter_width, p.dilation_width, p.out_width, p.stride_width, p.pad_left, p.in_width);
}

// PixelTaps if none fell into the padding.
double AllPixelTaps(const Problem& p) {
  return static_cast<double>(p.filter_height * p.filter_width) * static_cast<double>(p.out_height * p.out_width);
}

bool MostTapsInPadding(const Problem& p) { return PixelTaps(p) < 0.1 * AllPixelTaps(p); }

// Whether bfloat16 is multiplied in pairs of pixels: twice the multiply-adds a cycle, but zeros for the pixels that a
// tap sees in the padding.
bool MultipliesPairs(const Problem& p, const Isa& isa) {
  return p.dtype == DataType::kBFloat16 && isa.has_bf16_pairs() && 2 * PixelTaps(p) > AllPixelTaps(p);
}

// Estimates both in cycles of a processor with two multiply-adds of vectors a cycle, for one bundle of groups. The
// direct algorithm runs at 85 % of that, and slower in narrow groups: half a vector of filters reaches 44 % of its
// rate, two vectors 88 %. Winograd's products run at 85 %, too, but of stride 2 at 75 %, because they read more from
// beyond the second-level cache, and at 65 % where chunk after chunk of shared transforms passes through the caches.
// Measured, the two meet at 7 x 7 pixels of stride 1 (batch 1), between 14 x 14 and 28 x 28 of stride 2, in groups of
// half a vector between 14 x 14 and 28 x 28 of stride 1, and in 33 x 33 pixels of 512 channels at dilation 4.
bool WinogradPays(const Problem& p, const Isa& isa, const WinogradPlan& plan) {
  constexpr double kRate = 2 * 0.85, kStridedRate = 2 * 0.75, kChunksRate = 2 * 0.65;
  // Cycles to transform a vector of a tile of X and of dY, and to turn a vector of sums into taps, for each product.
  constexpr double kInputCycles = 6, kOutBackpropCycles = 4, kSumCycles = 8;
  const int64_t lanes = Lanes(p.dtype, isa);
  const int64_t column_vectors = CeilDiv(plan.columns, lanes);
  const double sums = static_cast<double>(plan.rows * column_vectors);
  const double rate = plan.shared_transforms && plan.chunks > 1 ? kChunksRate
                      : p.stride_height == 1                    ? kRate
                                                                : kStridedRate;
  const double tile = kInputCycles * CeilDiv(plan.rows, lanes) + kOutBackpropCycles * column_vectors + sums / rate;
  const int64_t turns_into_taps = plan.shared_transforms ? plan.chunks : plan.partial_sums;
  const double winograd = plan.products * (plan.tiles * tile + turns_into_taps * kSumCycles * sums);

  const int64_t filters = p.out_channels / p.groups;
  const double narrow_rate = p.groups == 1 ? 1 : std::min(1.0, 0.62 * std::sqrt(static_cast<double>(filters) / lanes));
  const double products = p.batch * PixelTaps(p) * plan.rows * filters / lanes;
  const double direct = products / (kRate * narrow_rate * (MultipliesPairs(p, isa) ? 2 : 1));
  return winograd < direct;
}

const char* Winograd(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  if (p.filter_height != 3 || p.filter_width != 3) return "the filter is not 3 x 3";
  if (p.stride_height != p.stride_width || p.stride_height > kMaxWinogradStride) return "the stride is not 1 or 2";
  // The transforms mix all pixels of a tile: where next to none of dY meets X, rounding errors of what meets the
  // padding would drown the rest.
  if (MostTapsInPadding(p)) return kMostInPadding;
  plan->reason = p.stride_height == 1 ? "3 x 3 taps of stride 1 from 36 products for 16 pixels instead of 144"
                                      : "3 x 3 taps of stride 2 from 81 products for 16 pixels instead of 144";
  PlanWinograd(p, isa, plan);
  if (!forced && !WinogradPays(p, isa, plan->winograd))
    return "for so few pixels or channels the transforms cost more than they save";
  return nullptr;
}

const char* Depthwise(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (p.filter_channels > 1 || p.out_channels > p.groups) return "a group has more than one channel or filter";
  if (p.out_channels < Lanes(p.dtype, isa)) return "the channels do not fill a vector";
  if (!StripIsReachable(p)) return kReachesTooFar;
  plan->reason = "one channel and one filter to a group: multiplied row by row where they lie";
  PlanDepthwise(p, plan);
  return nullptr;
}

const char* ThinGroups(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  if (p.groups == 1) return "the problem has one group";
  // Groups of 8 x 8 channels, which fill a vector: 25 GFLOP/s directly, 12 here.
  if (!forced && p.filter_channels >= 4 && p.out_channels / p.groups >= Lanes(p.dtype, isa)) {
    return "each group fills the direct algorithm's vectors";
  }
  // It sums a row in registers: over 16384 pixels the error reached 2.8e-6 in float32, over 4096 it was 9e-7.
  constexpr int64_t kMaxRowPixels = 2048;
  if (p.out_width > kMaxRowPixels) return "a row is too long a sum";
  if (!StripFits(p, p.filter_channels)) return kReachesTooFar;
  if (!forced && MostTapsInPadding(p)) return kMostInPadding;
  plan->strips = true;
  plan->reason = "groups too thin for the direct algorithm's vectors";
  PlanThinGroups(p, isa, plan);
  return nullptr;
}

const char* StripDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  const int64_t taps = p.filter_height * p.filter_width;
  if (taps == 1) return "one tap shares its pixels of X with no other";
  if (!StripFits(p, 1)) return kReachesTooFar;
  plan->strips = true;
  plan->reason = "implicit GEMM over strips that are packed once for all taps";
  PlanStripDirect(p, isa, plan);
  if (plan->strip_direct.fuse_columns) return nullptr;
  // 3 x 3 filters of 24 columns gain 20 %, of 32 5 %; those of 128 lose 6 %.
  constexpr int64_t kManyColumns = 64;
  if (plan->strip_direct.columns >= kManyColumns)
    return "each pixel of X is used often enough to be packed for each tap";
  // The direct algorithm fills its blocks from several images, and leaves padding out.
  constexpr int64_t kFewPixels = 64;
  if (p.out_height * p.out_width < kFewPixels) return "an image has too few pixels to fill a strip";
  constexpr double kMostZeros = 0.2;
  if (PixelTaps(p) < (1 - kMostZeros) * AllPixelTaps(p)) {
    return "too many taps fall into the padding, which a strip holds as zeros";
  }
  return nullptr;
}

const char* ExchangedDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (!IsPointwise(p)) return "the filter is not 1 x 1 or skips pixels";
  // 2 filters of 32 channels gain 60 %, 8 of 256 24 %; 8 of 9 would lose 35 %.
  if (p.out_channels > Lanes(p.dtype, isa)) return "the filters fill a vector";
  if (p.in_channels < 2 * p.out_channels) return "the channels fill vectors no better than the filters do";
  plan->exchanged = true;
  plan->reason = "few filters: dW transposed, so that the channels of X fill the vectors";
  PlanDirect(Exchanged(p), isa, MultipliesPairs(p, isa), plan);
  plan->shared_bytes += AlignedBytes(FilterElements(p) * ElementSize(p.dtype));
  return nullptr;
}

const char* Direct(const Problem& p, const Isa& isa, bool, Plan* plan) {
  plan->reason = "implicit GEMM over packed pixels, tap by tap";
  PlanDirect(p, isa, MultipliesPairs(p, isa), plan);
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
    {Algorithm::kWinograd, Winograd},      {Algorithm::kDepthwise, Depthwise}, {Algorithm::kDepthwise, ThinGroups},
    {Algorithm::kDirect, ExchangedDirect}, {Algorithm::kDirect, StripDirect},  {Algorithm::kDirect, Direct},
    {Algorithm::kReference, Reference},
};

}  // namespace

Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& isa, Plan* plan,
                const std::function<void(Algorithm, const char*)>& declined) {
  const bool forced = algorithm != Algorithm::kAuto;
  const char* const unplannable = WhyUnplannable(problem);
  const char* reason = "";
  for (const Entry& entry : kCandidates) {
    if (forced && algorithm != entry.algorithm) continue;
    *plan = Plan();
    plan->algorithm = entry.algorithm;
    plan->isa = &isa;
    plan->transpose = problem.layout == Layout::kNCHW;
    reason = unplannable != nullptr && entry.algorithm != Algorithm::kReference
                 ? unplannable
                 : entry.candidate(problem, isa, forced, plan);
    if (reason == nullptr && plan->worker_bytes > kMaxWorkerBytes) reason = "a thread would need more than 16 MiB";
    if (reason == nullptr) return Status();
    if (declined) declined(entry.algorithm, reason);
  }
  return InvalidArgument(std::string("algorithm '") + Name(algorithm) + "' cannot compute this problem: " + reason);
}

Problem Exchanged(const Problem& problem) {
  Problem exchanged = problem;
  std::swap(exchanged.in_channels, exchanged.out_channels);
  exchanged.filter_channels = exchanged.in_channels;
  return exchanged;
}

void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan) {
  *plan = Plan();
  plan->algorithm = Algorithm::kDirect;
  plan->isa = &isa;
  plan->reason = "a sum is not finite: term by term, without the padding";
  PlanDirect(problem, isa, false, plan);
}

}  // namespace wgrad
