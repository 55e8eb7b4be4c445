#include "tf_ops/wgrad/cpu/plan.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/direct_in_place.h"
#include "tf_ops/wgrad/cpu/estimate.h"
#include "tf_ops/wgrad/cpu/padding.h"
#include "tf_ops/wgrad/cpu/pointwise.h"
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
  // PixelTaps, of which a plan may take a few, counts as long as that: 30 ms.
  constexpr int64_t kMaxRun = 1 << 22;
  if (std::min(p.filter_height, p.out_height) > kMaxRun || std::min(p.filter_width, p.out_width) > kMaxRun) {
    return "so many taps meet so many pixels that nobody could wait for it";
  }
  return HasNoProducts(p) ? "there is nothing to sum" : nullptr;
}

constexpr const char* kReachesTooFar = "the stride or the dilated filter reaches too far for the caches";

constexpr const char* kStrideLeavesOut = "a strip would hold many pixels of X that the stride leaves out";

constexpr const char* kTooMuchMemory = "a thread would need more than 16 MiB";

constexpr const char* kMostInPadding = "almost all taps fall into the padding";

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

double CopiedGroupsCycles(const Problem& p, const Isa& isa) {
  return std::min(GroupedDirectCycles(p, isa), ThinGroupsCycles(p, isa));
}

// Why strips had better not be staged for a problem without groups, or null. Chosen by these rules and those below, 894
// random problems of bfloat16 take 1.3 % longer than by the faster way, 834 of half 1.7 %.
const char* WhyNotStage(const Problem& p, const Isa& isa, const DirectInPlacePlan& plan) {
  // 1 of 4 pixels, or 3 of 16, lose 14 %; half of them gain as much.
  constexpr double kLargePart = 0.3;
  if (SeenPart(p) < kLargePart) return kStrideLeavesOut;
  // Strips of one row, of filters that reach over many.
  const double products =
      PixelTapsInPlace(p, plan) * static_cast<double>(p.in_channels * CeilDiv(p.out_channels, Lanes(p.dtype, isa)));
  return 2 * plan.staged_vectors > products ? "each strip would hold pixels that it hardly sees" : nullptr;
}

// Why the columns of a patch had better not count as channels, or null.
const char* WhyNotFold(const Problem& p) {
  if (p.filter_width == 1 || p.filter_width != p.stride_width || p.dilation_width > 1) {
    return "the patches do not lie side by side";
  }
  if (p.groups > 1 || p.pad_left > 0 || p.out_width * p.filter_width != p.in_width) {
    return "the columns of a patch are not one run of channels";
  }
  // ViT's first layer, runs of 48, gains 32 %, and of 96 146 %; runs of 12 lose 21 %.
  constexpr int64_t kShortRun = 16;
  return Folded(p).in_channels < kShortRun ? "strips pack so short runs once for all rows of a patch" : nullptr;
}

// Why pairs of images had better not be multiplied, or null. By packed pairs of pixels alone 924 random problems would
// take 26 % longer than by the faster way.
const char* WhyNotPairImages(const Problem& p, const DirectInPlacePlan& plan) {
  // The image without a partner is multiplied by zeros, which pays where the filters are so few that packing takes
  // longer: 3 images of 28 x 28 with 3 x 3 taps of stride 2 and 128 filters lose 30 %, with 16 they gain 60 %.
  constexpr int64_t kFewFilters = 20;  // for each image
  const bool strided = p.stride_height > 1 || p.stride_width > 1;
  if (strided && p.batch % 2 == 1 && p.out_channels >= kFewFilters * p.batch) return "an image has no partner";
  // Each strip reads and writes all sums. Of 4 MiB on, 2 x 2 pixels of 1024 channels and 256 filters lose 68 %, 1 x 2
  // taps of stride 2 with 1024 and 1024 45 %; of 36 MiB, 3 x 3 taps lose 43 %.
  const int64_t sums = FilterElements(p) * SumSize(p.dtype) / SecondLevelBytes();  // as a multiple of that cache
  constexpr int64_t kManySums = 4, kMostSums = 16, kFewPixels = 12;
  constexpr const char* kReadsSums = "each strip would read and write more sums than its pixels pay for";
  if (sums < kManySums) return nullptr;
  if (sums >= kMostSums || WhyNotFold(p) == nullptr) return kReadsSums;
  return PixelTapsInPlace(p, plan) < static_cast<double>(kFewPixels * plan.strips * Taps(p)) ? kReadsSums : nullptr;
}

// Why a problem without groups is faster from copies, or null. Chosen by these rules, 2004 random problems of 1 to 256
// channels and 16 to 256 filters of 1 x 1 to 7 x 7 in float32 and float64 take 1.4 % longer than by the faster of both;
// by copies alone they took 14 %. Patches that could be folded take 0.76 to 0.91 of the time.
const char* WhyCopyOneGroup(const Problem& p, const Isa& isa, const DirectInPlacePlan& plan) {
  const char* const not_staged = plan.staged ? WhyNotStage(p, isa, plan) : nullptr;
  if (not_staged != nullptr) return not_staged;
  if (plan.bf16_pairs) return WhyNotPairImages(p, plan);
  // Sums of 768 KiB lose 1 %, of 2 MiB 10 %, of 8 MiB half: each strip reads and writes all of them. Staged ones lose 5
  // % from 512 KiB on.
  const int64_t sum_bytes = FilterElements(p) * SumSize(p.dtype);
  const int64_t most_sums = SecondLevelBytes() / 4 * (SumsInItsType(p.dtype) ? 3 : 2);
  if (sum_bytes > most_sums) return "the second-level cache does not hold the sums";
  // With fewer, to copy a pixel takes longer than all that follows.
  constexpr int64_t kFewChannels = 16;
  if (p.filter_channels < kFewChannels) return nullptr;
  // Output pixels of a row that see the inside of X, in the mean of all taps and rows: 4 x 4 pixels of 128 channels
  // lose 20 %, of 16 9 %; 7 x 7 of 96 gain 1 %. With filters for one or two vectors 163 random problems of less
  // than 128 channels gain 39 % in float32, 97 31 % in float64; with more channels nothing that is sure.
  constexpr double kShortRun = 5;
  constexpr int64_t kManyChannels = 128;
  const auto rows = static_cast<double>(Taps(p) * p.out_height);
  const bool few_sums = p.filter_channels < kManyChannels && p.out_channels <= kMaxGroupVectors * Lanes(p.dtype, isa);
  if (!few_sums && PixelTaps(p) < kShortRun * rows) return "rows of so few pixels are joined in packed panels";
  // 3_shortcut would lose 3 %.
  return Taps(p) == 1 ? "a single tap sees few of the pixels of X" : nullptr;
}

// Whether packed rows of few channels are multiplied as runs of columns and channels; of bfloat16 in pairs.
bool PacksRuns(const Problem& p, const Isa& isa) {
  if (!FusesColumns(p)) return false;
  return !MultipliesPairs(p, isa) || StripMultipliesPairs(p, isa) || WhyNotFold(p) == nullptr;
}

// Plans to multiply X and dY where they lie, or says why they cannot, or had better not, be multiplied so.
const char* TryDirectInPlace(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  const char* const not_in_place = WhyNotDirectInPlace(p, isa);
  if (not_in_place != nullptr) return not_in_place;
  if (IsPointwise(p)) return "a single tap of stride 1 is a plain product of matrices";
  if (!StripIsReachable(p)) return kReachesTooFar;
  PlanDirectInPlace(p, isa, plan);
  if (plan->worker_bytes > kMaxWorkerBytes) return kTooMuchMemory;
  const DirectInPlacePlan& d = plan->direct_in_place;
  const char* const copied_group = p.groups == 1 ? WhyCopyOneGroup(p, isa, d) : nullptr;
  if (copied_group != nullptr) return copied_group;
  // Groups of 1 and 2 channels take 1.4 times as long in place, one group of 1 to 3 1.2 to 1.4 times, of 4 as long.
  constexpr int64_t kFewChannels = 4;
  const bool few_channels = !d.shared_vectors && p.filter_channels < kFewChannels;
  if (few_channels && PacksRuns(p, isa)) return "a row of the filter and its channels are one run of a strip";
  if (p.groups == 1) return nullptr;
  // Copies of half are widened as well.
  const double widening = d.staged && !d.bf16_pairs ? 1.4 : 1;
  const double copied = widening * (forced ? GroupedDirectCycles(p, isa) : CopiedGroupsCycles(p, isa));
  const bool slower = copied < InPlaceCycles(p, isa, d);
  return slower ? "groups such as these are multiplied faster from copies" : nullptr;
}

// Of what runs where Winograd declines.
double OtherCycles(const Problem& p, const Isa& isa) {
  Plan plan;
  const bool in_place = TryDirectInPlace(p, isa, false, &plan) == nullptr;
  const DirectInPlacePlan& d = plan.direct_in_place;
  if (in_place && (p.groups > 1 || d.staged)) return InPlaceCycles(p, isa, d);
  return p.groups > 1 ? CopiedGroupsCycles(p, isa) : DirectCycles(p, isa, in_place, WhyNotExchange(p, isa) == nullptr);
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
  if (!forced && WinogradCycles(p, isa, plan->winograd) >= OtherCycles(p, isa)) {
    return "for so few pixels or channels the transforms cost more than they save";
  }
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

const char* DirectInPlace(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  const char* const copied = TryDirectInPlace(p, isa, forced, plan);
  if (copied != nullptr) return copied;
  plan->in_place = true;
  plan->reason = "implicit GEMM over pixels that are multiplied where they lie, tap by tap";
  return nullptr;
}

const char* StripDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (Taps(p) == 1) return "one tap shares its pixels of X with no other";
  if (!StripFits(p, 1)) return kReachesTooFar;
  plan->strips = true;
  plan->reason = "implicit GEMM over strips that are packed once for all taps";
  PlanStripDirect(p, isa, plan);
  // Of random problems that see less, tap by tap takes half of the time in float32. In pairs, which strided strips do
  // not multiply, it takes 0.58 of the time up to half.
  const bool loses_pairs = MultipliesPairs(p, isa) && !plan->strip_direct.bf16_pairs;
  const double least_part = loses_pairs ? 0.6 : 0.3;
  if (SeenPart(p) < least_part) return kStrideLeavesOut;
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

// A pointwise problem by its wider and its narrower side.
struct Sides {
  int64_t fewer, more, lanes;

  Sides(const Problem& p, const Isa& isa)
      : fewer(std::min(p.in_channels, p.out_channels)),
        more(std::max(p.in_channels, p.out_channels)),
        lanes(Lanes(p.dtype, isa)) {}

  // The fewest neighbours that fill whole vectors.
  int64_t full_bundle() const { return std::max<int64_t>(1, lanes / std::gcd(lanes, more)); }

  // For a pixel, of bundles of so many that are packed: a pixel of few channels costs 23 cycles before anything is
  // multiplied, or 10 where it fills vectors, and `pixels` of them as many times the products.
  double packed_cycles(int64_t pixels) const {
    const double packing = pixels > 1 && pixels * more % lanes == 0 ? 10 : 23;
    return packing / static_cast<double>(pixels) + 0.5 * static_cast<double>(fewer * CeilDiv(pixels * more, lanes));
  }

  // For a pixel, of bundles of so many that are multiplied where they lie. The products of a bundle wait for those of
  // the one before.
  double in_place_cycles(int64_t pixels) const {
    constexpr double kProduct = 0.6, kLatency = 4;
    return std::max(kProduct * static_cast<double>(fewer * CeilDiv(pixels * more, lanes)),
                    kLatency / static_cast<double>(pixels));
  }
};

// How many neighbours are best packed as one pixel: 5 x 5 channels and filters take half of the time, 10 and 10 nine
// tenths; 20 and 20 would lose 20 %.
int64_t BundledPixels(const Problem& p, const Isa& isa) {
  const Sides sides(p, isa);
  int64_t most = sides.full_bundle();
  // Channels that fill vectors do so only where the exchange brings them there.
  if (most == 1 && p.in_channels > p.out_channels && WhyNotExchange(p, isa) != nullptr) most = 2;
  int64_t best = 1;
  for (int64_t pixels = 2; pixels <= most && p.batch * p.out_height * p.out_width % pixels == 0; pixels *= 2) {
    if (sides.packed_cycles(pixels) < sides.packed_cycles(best)) best = pixels;
  }
  return best;
}

// How many neighbours are best multiplied as one where they lie: as many as fill whole vectors, or one that leaves its
// last vector in part empty. 6 channels and 20 filters then take a third of the time, 40 and 7 0.4, 16 and 40 0.65. Or
// 0 where neither will do: one may reach into the next pixel, not into others.
int64_t PixelsInPlace(const Problem& p, const Isa& isa) {
  const Sides sides(p, isa);
  const int64_t full = sides.full_bundle();
  const bool divides = p.batch * p.out_height * p.out_width % full == 0;
  const bool one_will_do = RoundUp(sides.more, sides.lanes) <= 2 * sides.more;
  if (!one_will_do) return divides ? full : 0;
  return divides && sides.in_place_cycles(full) <= sides.in_place_cycles(1) ? full : 1;
}

// Whether they are faster than packed ones: 24 channels and 1 filter take 0.4 of the time, 32 and 4 0.55, 24 and 144
// 0.65.
bool MultipliesInPlace(const Problem& p, const Isa& isa, int64_t pixels, int64_t packed_pixels) {
  if (pixels == 0 || !HasFewChannels(Bundled(p, pixels))) return false;
  const Sides sides(p, isa);
  return sides.full_bundle() == 1 || sides.in_place_cycles(pixels) <= sides.packed_cycles(packed_pixels);
}

const char* PointwiseDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (!IsPointwise(p)) return "a pixel meets others than the one in its place";
  // A tile of AVX-512 reads a line of X for 24 vectors of products, one of AVX2 for 12 of half the length, which would
  // wait for the second-level cache: it loses 13 to 28 %. Last vectors in part empty take no longer than packed ones:
  // 40 filters gain 7 to 16 %, and 55 of 512 channels.
  if (isa.vector_bytes < kWideVectorBytes) return "packed panels are read faster than X and dY are";
  if (p.out_channels < Lanes(p.dtype, isa)) return "the filters do not fill a vector";
  const bool fills_vectors = p.out_channels % Lanes(p.dtype, isa) == 0;
  if (SumsInItsType(p.dtype) && HasFewChannels(fills_vectors ? p : Bundled(p, 1))) {
    return "of so few channels neighbouring pixels may be multiplied as one";
  }
  if (!BlocksFitInCache(p)) return "pixels are so large that they had better be packed";
  // Below, what a slice reads and multiplies no longer pays for the sums that packed slices share: 392 pixels of 960
  // channels and 160 filters would lose 2 %.
  constexpr int64_t kFewPixels = 512;
  if (p.batch * p.out_height * p.out_width < kFewPixels) return "there are too few pixels to be shared out";
  plan->in_place = true;
  plan->reason = "matrix product of X and dY where they lie";
  PlanPointwise(p, isa, plan);
  return nullptr;
}

const char* BundledDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  if (!IsPointwise(p)) return "a pixel meets others than the one in its place";
  if (!SumsInItsType(p.dtype)) return "sums would be rounded before they are added";
  plan->bundled_pixels = BundledPixels(p, isa);
  const int64_t pixels_in_place = PixelsInPlace(p, isa);
  if (MultipliesInPlace(p, isa, pixels_in_place, plan->bundled_pixels)) {
    plan->in_place = true;
    plan->bundled_pixels = pixels_in_place;
    plan->reason = "few channels or filters: pixels, or bundles of them, are multiplied where they lie";
    PlanPointwise(Bundled(p, plan->bundled_pixels), isa, plan);
  } else if (plan->bundled_pixels > 1) {
    plan->reason = "few channels and filters: neighbouring pixels are multiplied as one, and the diagonal is kept";
    PlanDirect(Bundled(p, plan->bundled_pixels), isa, false, plan);
  } else {
    return "pixels fill vectors well enough one by one";
  }
  plan->shared_bytes += AlignedBytes(FilterElements(Bundled(p, plan->bundled_pixels)) * ElementSize(p.dtype));
  return nullptr;
}

const char* Direct(const Problem& p, const Isa& isa, bool, Plan* plan) {
  plan->reason = "implicit GEMM over packed pixels, tap by tap";
  PlanDirect(p, isa, MultipliesPairs(p, isa), plan);
  return nullptr;
}

const char* ExchangedDirect(const Problem& p, const Isa& isa, bool forced, Plan* plan) {
  const char* const not_exchanged = WhyNotExchange(p, isa);
  if (not_exchanged != nullptr) return not_exchanged;
  const Problem exchanged = Exchanged(p);
  // Where they lie 242 random problems of 2 to 15 filters in float32 take 0.83 of the time, 220 of bfloat16 0.6.
  constexpr Candidate kWays[] = {PointwiseDirect, DirectInPlace, StripDirect, Direct};
  for (const Candidate way : kWays) {
    plan->strips = false;
    if (way(exchanged, isa, forced, plan) == nullptr) break;
  }
  plan->exchanged = true;
  plan->reason = "few filters: dW transposed, so that the channels of X fill the vectors";
  plan->shared_bytes += AlignedBytes(FilterElements(p) * ElementSize(p.dtype));
  return nullptr;
}

const char* FoldedDirect(const Problem& p, const Isa& isa, bool, Plan* plan) {
  const char* const not_folded = WhyNotFold(p);
  if (not_folded != nullptr) return not_folded;
  const Problem folded = Folded(p);
  plan->folded = true;
  plan->reason = "implicit GEMM over packed patches, row by row";
  PlanDirect(folded, isa, MultipliesPairs(folded, isa), plan);
  return nullptr;
}

const char* Reference(const Problem&, const Isa&, bool, Plan* plan) {
  plan->reason = "the definition, which takes every problem";
  plan->transpose = false;
  return nullptr;
}

// Whether pixels of few channels fill vectors half as wide one by one: those of the widest would reach over the lines
// of X and dY. 24 channels and 72 filters gain 6 %, 72 and 24 18 %, 3 and 24 40 %.
bool FillsHalfAsWide(const Problem& p, const Isa& widest) {
  if (!IsPointwise(p) || !SumsInItsType(p.dtype)) return false;
  // 21 and 200 would lose 30 %: of many vectors the last one matters less.
  constexpr int64_t kFewChannels = 24, kFewVectors = 8;
  const Sides sides(p, widest);
  const bool few = sides.fewer <= kFewChannels && sides.more <= kFewVectors * sides.lanes;
  // Fewer sums than these wait for one another.
  constexpr int64_t kEnoughSums = 6;
  const bool enough_sums = 2 * sides.fewer * sides.more >= kEnoughSums * sides.lanes;
  return few && enough_sums && sides.more % sides.lanes == sides.lanes / 2 && p.out_channels % sides.lanes != 0;
}

// Groups of no more filters than half of a vector take shorter ones where those are not multiplied in place in the
// widest, and gain up to 40 %. Depthwise problems run across the groups, and pairs of bfloat16 are as fast as twice as
// many filters.
const Isa& BestFor(const Problem& p, Algorithm algorithm, const Isa& widest) {
  if (widest.half_as_wide == nullptr) return widest;
  if (FillsHalfAsWide(p, widest)) return *widest.half_as_wide;
  if (p.groups == 1 || p.filter_channels == 1) return widest;
  Plan in_place;
  const bool forced = algorithm != Algorithm::kAuto;
  const bool may_be_in_place = !forced || algorithm == Algorithm::kDirect;
  if (may_be_in_place && TryDirectInPlace(p, widest, forced, &in_place) == nullptr) return widest;
  const bool half_empty = 2 * (p.out_channels / p.groups) <= Lanes(p.dtype, widest);
  return half_empty && !MultipliesPairs(p, widest) ? *widest.half_as_wide : widest;
}

struct Entry {
  Algorithm algorithm;
  Candidate candidate;
};

// In the order of preference; the reference takes what all others decline.
constexpr Entry kCandidates[] = {
    {Algorithm::kWinograd, Winograd},      {Algorithm::kDepthwise, Depthwise},    {Algorithm::kDirect, DirectInPlace},
    {Algorithm::kDepthwise, ThinGroups},   {Algorithm::kDirect, PointwiseDirect}, {Algorithm::kDirect, BundledDirect},
    {Algorithm::kDirect, ExchangedDirect}, {Algorithm::kDirect, FoldedDirect},    {Algorithm::kDirect, StripDirect},
    {Algorithm::kDirect, Direct},          {Algorithm::kReference, Reference},
};

}  // namespace

Status MakePlan(const Problem& problem, Algorithm algorithm, const Isa& widest, Plan* plan,
                const std::function<void(Algorithm, const char*)>& declined) {
  const bool forced = algorithm != Algorithm::kAuto;
  const char* const unplannable = WhyUnplannable(problem);
  const Isa& isa = unplannable == nullptr ? BestFor(problem, algorithm, widest) : widest;
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
    if (reason == nullptr && plan->worker_bytes > kMaxWorkerBytes) reason = kTooMuchMemory;
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

Problem Bundled(const Problem& problem, int64_t pixels) {
  Problem bundled = problem;
  bundled.batch = bundled.in_height = bundled.out_height = 1;
  bundled.in_width = bundled.out_width = problem.batch * problem.out_height * problem.out_width / pixels;
  bundled.in_channels = pixels * std::min(problem.in_channels, problem.out_channels);
  bundled.filter_channels = bundled.in_channels;
  bundled.out_channels = pixels * std::max(problem.in_channels, problem.out_channels);
  return bundled;
}

void MakeExactPlan(const Problem& problem, const Isa& isa, Plan* plan) {
  *plan = Plan();
  plan->algorithm = Algorithm::kDirect;
  plan->isa = &isa;
  PlanDirect(problem, isa, false, plan);
}

}  // namespace wgrad
