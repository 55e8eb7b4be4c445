// For groups the estimates were fitted to 499 measured problems, of 2 to 64 groups of 1 to 128 channels and 1 to 128
// filters. Those of groups in place were added from 641 problems with AVX-512 and AVX2, of 2 to 64 groups of 1 to 64
// channels and filters: what is chosen with them takes 4 % longer than the faster one, where the others alone would
// take 38 and 58 %. What Winograd's algorithm takes was fitted to 2968 problems of 3 x 3 filters in all types, strided
// and dilated too, and streamed transforms to 4890 without groups, which take 1 % longer with AVX-512 than by the
// faster of it and what runs otherwise. Of others, which were not fitted to, 1088 of groups take 4 % longer, with AVX2
// 634 3.3 %, and 386 without groups 1.3 %.
#include "tf_ops/wgrad/cpu/estimate.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/direct_in_place.h"
#include "tf_ops/wgrad/cpu/padding.h"
#include "tf_ops/wgrad/cpu/streaming.h"
#include "tf_ops/wgrad/cpu/strip_direct.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

// Vectors to pack of each pixel, where one that is not full takes three times as long.
int64_t PackedVectors(int64_t channels, int64_t lanes) {
  return CeilDiv(channels, lanes) + (channels % lanes == 0 ? 0 : 2);
}

// Whether what copies a few groups at a time waits for memory: runs of about 128 bytes of pixels at least four times as
// large, of tensors that the caches do not hold.
bool GroupsWaitForMemory(const Problem& p) {
  constexpr int64_t kLargePixel = 512, kCacheBytes = 4 << 20;
  const int64_t element_size = ElementSize(p.dtype);
  return p.in_channels * element_size >= kLargePixel &&
         (InputElements(p) + OutputElements(p)) * element_size > kCacheBytes;
}

}  // namespace

double DirectCycles(const Problem& p, const Isa& isa, bool in_place, bool exchanged) {
  const double rate = in_place ? 1.8 : MultipliesPairs(p, isa) ? 3.2 : 1.6;  // multiply-adds a cycle
  const int64_t lanes = Lanes(p.dtype, isa);
  const int64_t products =
      exchanged ? p.out_channels * CeilDiv(p.in_channels, lanes) : p.in_channels * CeilDiv(p.out_channels, lanes);
  return static_cast<double>(p.batch) * PixelTaps(p) * static_cast<double>(products) / rate;
}

double GroupedDirectCycles(const Problem& p, const Isa& isa) {
  constexpr double kMultiply = 0.7, kPackInput = 0.6, kPackOutput = 7.5;
  constexpr double kFewVectors = 8;  // sums of fewer wait for one another
  constexpr double kPairing = 1.5;   // times as long, where pixels are packed in pairs
  const bool pairs = MultipliesPairs(p, isa);
  const int64_t lanes = Lanes(p.dtype, isa), filters = p.out_channels / p.groups;
  const double pixel_taps = PixelTaps(p);
  // A row of the filter at a time.
  const double run_columns = FusesColumns(p) ? static_cast<double>(p.filter_width) : 1;
  const double run_vectors = run_columns * static_cast<double>(p.filter_channels * CeilDiv(filters, lanes));
  const double products = std::max(kFewVectors, run_vectors) / run_columns / (pairs ? 2 : 1);
  const double input_pixels = FusesColumns(p)
                                  ? static_cast<double>(p.filter_height) * static_cast<double>(p.in_height * p.in_width)
                                  : pixel_taps;
  const double output_pixels = static_cast<double>(p.out_height * p.out_width);
  const double group = kMultiply * pixel_taps * products +
                       kPackInput * input_pixels * static_cast<double>(PackedVectors(p.filter_channels, lanes)) +
                       kPackOutput * output_pixels * static_cast<double>(PackedVectors(filters, lanes));
  return (pairs ? kPairing : 1) * static_cast<double>(p.batch * p.groups) * group;
}

double ThinGroupsCycles(const Problem& p, const Isa& isa) {
  const bool waits = GroupsWaitForMemory(p);
  const double spread = waits ? 6.5 : 4.5, pack_output = waits ? 14 : 9.5;
  constexpr double kGather = 16, kMultiply = 0.65;
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

double InPlaceCycles(const Problem& p, const Isa& isa, const DirectInPlacePlan& plan) {
  const double multiply = plan.shared_vectors ? 0.43 : 0.5;
  constexpr double kPixel = 1.8, kTile = 45, kSum = 1;
  constexpr double kLine = 0.7;  // of X and dY, more than the others take
  constexpr double kStaged = 2;  // a vector
  const auto taps = static_cast<double>(Taps(p));
  const auto tiles = static_cast<double>(plan.bundles * plan.bundle_tiles);
  const int64_t vectors = plan.bundles * CeilDiv(plan.columns, Lanes(p.dtype, isa));
  const auto sums = static_cast<double>(p.filter_channels * vectors);
  const int64_t bytes = (InputElements(p) + OutputElements(p)) * ElementSize(p.dtype);
  const auto lines = static_cast<double>(CeilDiv(bytes, kCacheLine));
  const auto strips = static_cast<double>(plan.strips);
  return PixelTapsInPlace(p, plan) * (multiply * sums + kPixel * tiles) +
         strips * taps * (kTile * tiles + kSum * sums) + kLine * lines + kStaged * plan.staged_vectors;
}

double WinogradCycles(const Problem& p, const Isa& isa, const WinogradPlan& plan) {
  // A tile of sums takes as long to load and to store as 8 tiles of pixels to multiply.
  constexpr double kRate = 1.7, kRunCost = 8;
  constexpr double kTransform = 7;  // of a vector of a tile of X or of dY, for each product
  // To turn a vector of sums into taps, for each product: next to nothing where dW is streamed, more where all of it is
  // read and written again.
  const bool shared_lines = plan.shared_transforms && StreamsLines(isa);
  const double sum_cycles = !shared_lines ? 5 : plan.chunks == 1 ? 0 : 8;
  const double first_use = p.groups == 1 ? 70e3 : 0;  // of scratch memory, which no cache holds yet
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
  const double tile = kTransform * static_cast<double>(row_vectors + column_vectors) + sums / rate;
  const int64_t turns_into_taps = plan.shared_transforms ? plan.chunks : plan.partial_sums;
  return first_use + plan.bundles * (products * tile + plan.tiling.sums() * turns_into_taps * sum_cycles * sums);
}

}  // namespace wgrad
