#include "tf_ops/wgrad/cpu/plan.h"

#include <algorithm>
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
  // PairsInside counts as long as that: 30 ms.
  constexpr int64_t kMaxRun = 1 << 22;
  if (std::min(p.filter_height, p.out_height) > kMaxRun || std::min(p.filter_width, p.out_width) > kMaxRun) {
    return "so many taps meet so many pixels that nobody could wait for it";
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

bool ManyTapsInPadding(const Problem& p) { return PixelTaps(p) < 0.8 * AllPixelTaps(p); }

// Whether bfloat16 is multiplied in pairs of pixels: twice the multiply-adds a cycle, but zeros for the pixels that a
// tap sees in the padding.
bool MultipliesPairs(const Problem& p, const Isa& isa) {
  return p.dtype == DataType::kBFloat16 && isa.has_bf16_pairs() && 2 * PixelTaps(p) > AllPixelTaps(p);
}

// Why the direct algorithm had better not let X and dY change places, or null.
const char* WhyNotExchange(const Problem& p, const Isa& isa) {
  if (p.groups > 1) return "the problem has groups";
  if (p.stride_height > 1 || p.stride_width > 1) return "the stride is not 1";
  // 2 filters of 32 channels gain 60 %, 8 of 256 24 %; 8 of 9 would lose 35 %.
  if (p.out_channels > Lanes(p.dtype, isa)) return "the filters fill a vector";
  if (p.in_channels < 2 * p.out_channels) return "the channels fill vectors no better than the filters do";
  const Problem exchanged = Exchanged(p);
  if (exchanged.pad_top < 0 || exchanged.pad_left < 0) return "some pixels see nothing but padding";
  return ManyTapsInPadding(exchanged) ? "too many pixels of X see no tap" : nullptr;
}

// Vectors to pack of each pixel, where one that is not full takes three times as long.
int64_t PackedVectors(int64_t channels, int64_t lanes) {
  return CeilDiv(channels, lanes) + (channels % lanes == 0 ? 0 : 2);
}

// The estimates are in cycles of a processor with two multiply-adds of vectors a cycle. For groups they were fitted to
// 499 measured problems, of 2 to 64 groups of 1 to 128 channels and 1 to 128 filters. What they choose takes 1 % longer
// in the mean than the fastest of the three algorithms; 12 problems lose more than 20 %, the worst 74 %.
double GroupedDirectCycles(const Problem& p, const Isa& isa) {
  constexpr double kMultiply = 0.7, kPackInput = 0.6, kPackOutput = 7.5;
  constexpr double kFewVectors = 8;  // sums of fewer wait for one another
  const int64_t lanes = Lanes(p.dtype, isa), filters = p.out_channels / p.groups;
  const double pixel_taps = PixelTaps(p);
  // A row of the filter at a time.
  const double run_columns = FusesColumns(p) ? static_cast<double>(p.filter_width) : 1;
  const double run_vectors = run_columns * static_cast<double>(p.filter_channels * CeilDiv(filters, lanes));
  const double products = std::max(kFewVectors, run_vectors) / run_columns / (MultipliesPairs(p, isa) ? 2 : 1);
  const double input_pixels =
      FusesColumns(p) ? static_cast<double>(p.filter_height * p.in_height * p.in_width) : pixel_taps;
  const double output_pixels = static_cast<double>(p.out_height * p.out_width);
  const double group = kMultiply * pixel_taps * products +
                       kPackInput * input_pixels * static_cast<double>(PackedVectors(p.filter_channels, lanes)) +
                       kPackOutput * output_pixels * static_cast<double>(PackedVectors(filters, lanes));
  return static_cast<double>(p.batch * p.groups) * group;
}

// Whether what copies a few groups at a time waits for memory: runs of about 128 bytes of pixels at least four times as
// large, of tensors that the caches do not hold.
bool GroupsWaitForMemory(const Problem& p) {
  constexpr int64_t kLargePixel = 512, kCacheBytes = 4 << 20;
  const int64_t element_size = ElementSize(p.dtype);
  return p.in_channels * element_size >= kLargePixel &&
         (InputElements(p) + OutputElements(p)) * element_size > kCacheBytes;
}

double ThinGroupsCycles(const Problem& p, const Isa& isa) {
  const bool waits = GroupsWaitForMemory(p);
  const double spread = waits ? 6.5 : 4.5, pack_output = waits ? 14 : 9.5;
  constexpr double kGather = 9.5, kMultiply = 0.65;
  constexpr double kFarPixels = 0.035;  // for each channel that lies between two pixels
  const int64_t lanes = Lanes(p.dtype, isa), filters = p.out_channels / p.groups;
  // Whether the channels of X that a vector of dY meets lie further apart than a vector is wide.
  const bool gathers = (lanes - 1) / filters * p.filter_channels >= lanes;
  const double channels = static_cast<double>(p.filter_channels);
  const double vector = static_cast<double>(p.in_height * p.in_width) * channels * (gathers ? kGather : spread) +
                        static_cast<double>(p.out_height * p.out_width) * pack_output +
                        PixelTaps(p) * channels * (kMultiply + kFarPixels * channels);
  return static_cast<double>(p.batch * CeilDiv(p.out_channels, lanes)) * vector;
}

// Without groups, this and WinogradCycles meet the ratio of the two times within 15 % in the mean for 30 problems, from
// 3 to 512 channels and from 3 x 3 to 224 x 224 pixels, dilated and strided too; the two that they decide wrongly lose
// 9 % and 13 %.
double DirectCycles(const Problem& p, const Isa& isa) {
  if (p.groups > 1) return std::min(GroupedDirectCycles(p, isa), ThinGroupsCycles(p, isa));
  const double rate = MultipliesPairs(p, isa) ? 3.2 : 1.6;  // multiply-adds a cycle
  const int64_t lanes = Lanes(p.dtype, isa);
  const int64_t products = WhyNotExchange(p, isa) == nullptr ? p.out_channels * CeilDiv(p.in_channels, lanes)
                                                             : p.in_channels * CeilDiv(p.out_channels, lanes);
  return static_cast<double>(p.batch) * PixelTaps(p) * static_cast<double>(products) / rate;
}

// Cycles to transform a vector of a tile of X or of dY, for each product. Shared transforms do not stay in the
// second-level cache.
double TransformCycles(const Problem& p, const WinogradPlan& plan) {
  if (p.groups > 1) return GroupsWaitForMemory(p) ? 12 : 8;
  const double cycles = plan.shared_transforms ? 20 : 7;
  return p.stride_height == 1 ? cycles : 0.6 * cycles;  // half of the pixels are copied
}

double WinogradCycles(const Problem& p, const Isa& isa, const WinogradPlan& plan) {
  // A tile of sums takes as long to load and to store as 8 tiles of pixels to multiply.
  constexpr double kRate = 1.7, kRunCost = 8;
  constexpr double kSumCycles = 5;  // to turn a vector of sums into taps, for each product
  const int64_t lanes = Lanes(p.dtype, isa);
  // A vector that is not full goes through memory and takes twice as long.
  const int64_t row_vectors = CeilDiv(plan.rows, lanes) + (plan.rows % lanes == 0 ? 0 : 1);
  const int64_t column_vectors = CeilDiv(plan.columns, lanes);
  const double sums = static_cast<double>(plan.rows * column_vectors);
  const double products = static_cast<double>(plan.tiling.products());
  // How many tiles of a chunk have a point, in the mean.
  const double chunk_tiles = products / static_cast<double>(plan.tiling.points() * plan.chunks);
  const double run = std::min(chunk_tiles, static_cast<double>(kMaxWinogradRun));
  const double rate = kRate / (1 + kRunCost / run);
  const double tile = TransformCycles(p, plan) * static_cast<double>(row_vectors + column_vectors) + sums / rate;
  const int64_t turns_into_taps = plan.shared_transforms ? plan.chunks : plan.partial_sums;
  return plan.bundles * (products * tile + plan.tiling.sums() * turns_into_taps * kSumCycles * sums);
}

constexpr const char* kWinogradReasons[kMaxWinogradStride] = {
    "3 x 3 taps of stride 1 from 36 products for 16 pixels instead of 144, or 25 for 9 instead of 81",
    "3 x 3 taps of stride 2 from 81 products for 16 pixels instead of 144, or 49 for 9 instead of 81",
};

const char* Winograd(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  if (p.filter_height != 3 || p.filter_width != 3) return "the filter is not 3 x 3";
  if (p.stride_height != p.stride_width || p.stride_height > kMaxWinogradStride) return "the stride is not 1 or 2";
  // The transforms mix all pixels of a tile: where next to none of dY meets X, rounding errors of what meets the
  // padding would drown the rest.
  if (MostTapsInPadding(p)) return kMostInPadding;
  PlanWinograd(p, isa, plan);
  plan->reason = kWinogradReasons[p.stride_height - 1];
  if (!forced && WinogradCycles(p, isa, plan->winograd) >= DirectCycles(p, isa))
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
  if (!forced && GroupedDirectCycles(p, isa) <= ThinGroupsCycles(p, isa)) {
    return "groups as wide as these are multiplied faster one by one";
  }
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
  constexpr const char* kTooFewPixels = "an image has too few pixels to fill a strip";
  constexpr const char* kManyInPadding = "too many taps fall into the padding, which a strip holds as zeros";
  if (plan->strip_direct.fuse_columns) {
    // Tap by tap, images of 1 pixel take a quarter of the time, of 4 half, of 9 two thirds; 4 x 4 pixels of 3 channels
    // lose a fifth. With groups, images of 1 pixel take a seventh, of 4 a third to two thirds, of 9 0.6 to 1.9.
    const int64_t few_pixels = p.groups == 1 ? 16 : 9;
    if (p.out_height * p.out_width < few_pixels) return kTooFewPixels;
    if (p.groups > 1) return nullptr;
    // 4 x 4 pixels of 8 channels and 5 x 5 taps gain 93 %, 7 x 7 of 12 15 %; of 3 channels, 8 x 8 and 7 x 7 lose 20 %.
    constexpr int64_t kFewestChannels = 8;
    return p.filter_channels >= kFewestChannels && ManyTapsInPadding(p) ? kManyInPadding : nullptr;
  }
  // 3 x 3 filters of 24 columns gain 20 %, of 32 5 %; those of 128 lose 6 %.
  constexpr int64_t kManyColumns = 64;
  if (plan->strip_direct.columns >= kManyColumns)
    return "each pixel of X is used often enough to be packed for each tap";
  // The direct algorithm fills its blocks from several images, and leaves padding out.
  constexpr int64_t kFewPixels = 64;
  if (p.out_height * p.out_width < kFewPixels) return kTooFewPixels;
  return ManyTapsInPadding(p) ? kManyInPadding : nullptr;
}

const char* ExchangedDirect(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  const char* const not_exchanged = WhyNotExchange(p, isa);
  if (not_exchanged != nullptr) return not_exchanged;
  const Problem exchanged = Exchanged(p);
  if (StripDirect(exchanged, isa, forced, plan) != nullptr) {
    plan->strips = false;
    PlanDirect(exchanged, isa, MultipliesPairs(exchanged, isa), plan);
  }
  plan->exchanged = true;
  plan->reason = "few filters: dW transposed, so that the channels of X fill the vectors";
  plan->shared_bytes += AlignedBytes(FilterElements(p) * ElementSize(p.dtype));
  return nullptr;
}

const char* FoldedDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (p.filter_width == 1 || p.filter_width != p.stride_width || p.dilation_width > 1) {
    return "the patches do not lie side by side";
  }
  if (p.groups > 1 || p.pad_left > 0 || p.out_width * p.filter_width != p.in_width) {
    return "the columns of a patch are not one run of channels";
  }
  const Problem folded = Folded(p);
  // ViT's first layer, runs of 48, gains 32 %, and of 96 146 %; runs of 12 lose 21 %.
  constexpr int64_t kShortRun = 16;
  if (folded.in_channels < kShortRun) return "strips pack so short runs once for all rows of a patch";
  plan->folded = true;
  plan->reason = "implicit GEMM over packed patches, row by row";
  PlanDirect(folded, isa, MultipliesPairs(folded, isa), plan);
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
    {Algorithm::kDirect, ExchangedDirect}, {Algorithm::kDirect, FoldedDirect}, {Algorithm::kDirect, StripDirect},
    {Algorithm::kDirect, Direct},          {Algorithm::kReference, Reference},
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
  std::swap(exchanged.in_height, exchanged.out_height);
  std::swap(exchanged.in_width, exchanged.out_width);
  exchanged.filter_channels = exchanged.in_channels;
  exchanged.pad_top = (problem.filter_height - 1) * problem.dilation_height - problem.pad_top;
  exchanged.pad_left = (problem.filter_width - 1) * problem.dilation_width - problem.pad_left;
  return exchanged;
}

Problem Folded(const Problem& problem) {
  Problem folded = problem;
  folded.in_width /= folded.filter_width;
  folded.in_channels *= folded.filter_width;
  folded.filter_channels = folded.in_channels;
  folded.filter_width = folded.stride_width = 1;
  return folded;
}

void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan) {
  *plan = Plan();
  plan->algorithm = Algorithm::kDirect;
  plan->isa = &isa;
  PlanDirect(problem, isa, false, plan);
}

}  // namespace wgrad
