#include "tf_ops/wgrad/cuda/plan.h"

#include <algorithm>
#include <limits>
#include <set>
#include <sstream>

#include "tf_ops/wgrad/cuda/depthwise.h"
#include "tf_ops/wgrad/cuda/fold.h"
#include "tf_ops/wgrad/cuda/general.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/wgmma.h"

namespace wgrad::cuda {
namespace {

// What the slices of a round may take, unless one image alone needs more.
constexpr int64_t kSliceBytes = int64_t{256} << 20;
// And the folded copy of a round's images.
constexpr int64_t kFoldBytes = int64_t{1} << 30;
// CUTLASS offsets into a tensor with 32-bit integers.
constexpr int64_t kTensorBytes = std::numeric_limits<int32_t>::max();
// Room for a tile past the end of a dimension.
constexpr int64_t kCoordinateLimit = int64_t{1} << 30;
constexpr int64_t kMaxSlices = 65535;        // the grid's z dimension
constexpr int64_t kMaxRowTiles = 4 * 65535;  // its y dimension; CUTLASS puts four side by side in x
constexpr int64_t kMaxGemmGroups = 32;       // each is a launch of its own
constexpr int64_t kMinGemmChannels = 16;     // of a group, in and out: a sixteenth of the smallest tile's area
constexpr int64_t kMaxThinChannels = 32;

// Pixels in one slice of the kernels that gather, whose threads add up chains of 512: 2048 such chains.
constexpr int64_t kMaxGatheredPixels = int64_t{1} << 20;

int64_t GroupOutChannels(const Problem& p) { return p.out_channels / p.groups; }

int64_t LargestImageBytes(const Problem& p) {
  return ElementSize(p.dtype) *
         std::max(p.in_height * p.in_width * p.in_channels, p.out_height * p.out_width * p.out_channels);
}

bool CoordinatesFit(const Problem& p, int64_t rows_past_end) {
  const int64_t below = p.out_height * p.stride_height + (p.filter_height + rows_past_end) * p.dilation_height;
  const int64_t right = p.out_width * p.stride_width + (p.filter_width + rows_past_end) * p.dilation_width;
  return std::max({below, right, p.in_height, p.in_width, p.pad_top, p.pad_left, FilterElements(p)}) < kCoordinateLimit;
}

// --- Implicit GEMM ---

// As many as the grid has room for, and the offsets of their first tiles in dY: CUTLASS computes these in bits, with
// 32-bit integers.
int64_t MostSlices(const Problem& p, const Instance& instance) {
  if (IsWgmma(instance)) return kMaxSlices;
  constexpr int64_t kOffsetBits = std::numeric_limits<int32_t>::max();
  const int64_t pixels = kOffsetBits / (8 * ElementSize(p.dtype) * p.out_channels) - 1;  // all channels of one besides
  return std::min(kMaxSlices, pixels / instance.tile_k);
}

// Multiply-adds of one multiprocessor in one cycle, on the devices each is meant for.
double Rate(Math math, DataType dtype) {
  switch (math) {
    case Math::kWgmma:
      return 2048;
    case Math::kWgmmaTf32:
    case Math::kTensorCore:
      return 1024;
    case Math::kTf32:
      return 512;
    case Math::kDmma:
      return 64;
    case Math::kSimt:
      break;
  }
  return dtype == DataType::kFloat64 ? 32 : 64;
}

// CUTLASS's kernels are launched once for each group, wgmma's once.
bool LaunchedByGroup(const Instance& instance) { return !IsWgmma(instance); }

// Tiles of a launch, of one slice.
int64_t TilesOf(const Problem& p, const Instance& instance) {
  const int64_t row_tiles = IsWgmma(instance) ? CeilDiv(wgmma::RowPanels(p), instance.tile_n / wgmma::PanelOf(p.dtype))
                                              : CeilDiv(FilterRows(p), instance.tile_n);
  return (LaunchedByGroup(instance) ? 1 : p.groups) * CeilDiv(GroupOutChannels(p), instance.tile_m) * row_tiles;
}

struct Split {
  int64_t slices, images;
  bool in_clusters;
  double cycles;
};

// Blocks that run at once. A cluster stays within one of the groups of some 16 multiprocessors that the device is made
// of: by the driver, an H100 has room for so many of one to eight blocks.
int64_t BlocksAtOnce(const Split& split, const Device& device) {
  constexpr int64_t kMultiprocessors = 132;
  constexpr int64_t kClusters[wgmma::kMostBlocksOfCluster] = {kMultiprocessors, 66, 39, 30, 22, 17, 15, 15};
  if (!split.in_clusters) return device.multiprocessors;
  const int64_t clusters = kClusters[split.slices - 1] * device.multiprocessors / kMultiprocessors;
  return std::max<int64_t>(1, clusters) * split.slices;
}

// What the model below takes a kind of kernels to cost. Hopper's numbers are fitted to 1,680 times of ResNet-50's
// layers in half on an H100: the plan of a layer that they like best takes 6 % longer than the fastest, in the mean,
// and the fastest of the eight that they like best 0.6 %. In tf32, to which they are not fitted, it is 2.5 and 0.5 %.
struct Costs {
  double block_start;      // cycles to fill the pipeline and to write the tile out
  double sum_start;        // cycles until the sum of the slices begins
  double bytes_per_cycle;  // of slices, for each multiprocessor
};

Costs CostsOf(const Instance& instance) { return IsWgmma(instance) ? Costs{2900, 3600, 11} : Costs{1500, 0, 10}; }

// Cycles in which a block multiplies the pixels of one step.
double StepCycles(const Instance& instance) {
  const auto rows = static_cast<double>(instance.tile_n), channels = static_cast<double>(instance.tile_m);
  const double products = rows * channels * instance.tile_k / Rate(instance.math, instance.dtype);
  if (IsWgmma(instance)) {
    constexpr double kLoadedBytesPerCycle = 49;
    const auto bytes = (rows + channels) * static_cast<double>(instance.tile_k * ElementSize(instance.dtype));
    return std::max(0.7 * products, bytes / kLoadedBytesPerCycle);
  }
  // A tile of side s loads 2 s values for s^2 products, so small ones wait for shared memory.
  const double side = rows * channels / (rows + channels);
  // Loads narrower than 16 bytes take more instructions for the same values.
  const double loads = 16.0 / static_cast<double>(instance.alignment * ElementSize(instance.dtype));
  return products * (1 + 16 / side) * (1 + 0.1 * (loads - 1));
}

// Cycles that a round takes by a simple model; it ranks tiles and splits, and predicts no time.
double Cycles(const Problem& p, const Instance& instance, const Split& split, const Device& device) {
  constexpr double kExchangedBytesPerCycle = 9;  // within a cluster, for each block
  const Costs costs = CostsOf(instance);
  const int64_t depth = CeilDiv(CeilDiv(split.images * p.out_height * p.out_width, instance.tile_k), split.slices);
  double block = static_cast<double>(depth) * StepCycles(instance) + costs.block_start;
  double sum = 0;
  if (split.in_clusters) {
    block += static_cast<double>(instance.tile_m * instance.tile_n * SumBytes(p.dtype)) / kExchangedBytesPerCycle;
  } else if (!IsWgmma(instance) || split.slices > 1) {  // CUTLASS's slice, too, goes through memory
    sum = costs.sum_start + 2.0 * static_cast<double>(split.slices * FilterElements(p) * SumBytes(p.dtype)) /
                                (costs.bytes_per_cycle * device.multiprocessors);
  }
  const int64_t launches = LaunchedByGroup(instance) ? p.groups : 1;
  return static_cast<double>(launches * CeilDiv(TilesOf(p, instance) * split.slices, BlocksAtOnce(split, device))) *
             block +
         sum;
}

// Whether the tensor memory accelerator can step through a dimension of X as the windows do.
bool CanGather(int64_t in, int64_t filter, int64_t out, int64_t stride, int64_t dilation, int64_t pad) {
  const int64_t upper_corner = (out - 1) * stride - pad - (in - 1);
  return stride <= 8 && pad <= 128 && upper_corner >= -128 && upper_corner <= 127 && (filter - 1) * dilation <= 255;
}

std::string WhyNotWgmma(const Problem& p, const Device& device) {
  if (device.compute_capability != wgmma::kComputeCapability) {
    return "has code for compute capability " + std::to_string(wgmma::kComputeCapability / 10) + " alone";
  }
  if (!CanGather(p.in_height, p.filter_height, p.out_height, p.stride_height, p.dilation_height, p.pad_top) ||
      !CanGather(p.in_width, p.filter_width, p.out_width, p.stride_width, p.dilation_width, p.pad_left)) {
    return "strides, padding or dilations are larger than the tensor memory accelerator takes";
  }
  return "";
}

// Why this instance cannot run, or an empty string.
std::string WhyNot(const Problem& problem, const Instance& instance, const Device& device, const Options& options) {
  const Problem p = fold::Seen(problem, instance);
  std::ostringstream reason;
  const std::string why_not_wgmma = IsWgmma(instance) ? WhyNotWgmma(p, device) : "";
  const int64_t row_tiles = CeilDiv(FilterRows(p), instance.tile_n);
  const int64_t image_slices = CeilDiv(p.out_height * p.out_width, MaxChainPixels(instance.math, p.dtype));
  const int64_t alignment_bytes = instance.alignment * ElementSize(p.dtype);
  if (device.compute_capability < instance.min_compute_capability) {
    reason << "needs compute capability " << instance.min_compute_capability / 10.0 << ", the device has "
           << device.compute_capability / 10.0;
  } else if (!why_not_wgmma.empty()) {
    reason << why_not_wgmma;
  } else if (RoundsToTf32(instance) && !options.allow_tf32) {
    reason << "tf32 is switched off";
  } else if (p.in_channels / p.groups % instance.alignment != 0 || GroupOutChannels(p) % instance.alignment != 0) {
    reason << "needs channels in multiples of " << instance.alignment << ", a group has " << problem.filter_channels
           << " in and " << GroupOutChannels(p) << " out";
  } else if ((p.layout == Layout::kNHWC || IsWgmma(instance)) &&
             options.pointer_alignment % alignment_bytes != 0) {  // NCHW tensors are copied, the result is not
    reason << "needs tensors aligned to " << alignment_bytes << " bytes, got " << options.pointer_alignment;
  } else if (LargestImageBytes(p) > kTensorBytes) {
    reason << "one image has " << LargestImageBytes(p) << " bytes, more than " << kTensorBytes;
  } else if (!CoordinatesFit(p, instance.tile_n)) {
    reason << "coordinates exceed " << kCoordinateLimit;
  } else if (LaunchedByGroup(instance) && row_tiles > kMaxRowTiles) {
    reason << row_tiles << " tiles of filter rows, the grid has room for " << kMaxRowTiles;
  } else if (image_slices > MostSlices(p, instance)) {
    reason << "slices that accuracy takes: " << image_slices
           << ", that the grid and 32-bit offsets have room for: " << MostSlices(p, instance);
  } else if (LaunchedByGroup(instance) && p.groups > kMaxGemmGroups) {
    reason << "more than " << kMaxGemmGroups << " groups, each a launch";
  } else if (p.groups > 1 && std::min(p.filter_channels, GroupOutChannels(p)) < kMinGemmChannels) {
    reason << "groups of fewer than " << kMinGemmChannels << " channels waste the tile";
  }
  return reason.str();
}

// Slices and images per round: no slice longer than accuracy allows where memory permits, and otherwise the three
// that the model likes best among those that fill the device one to four times, or that a cluster can add up. The best
// comes first.
std::vector<Split> BestSplits(const Problem& problem, const Instance& instance, const Device& device) {
  const Problem p = fold::Seen(problem, instance);
  const int64_t image_pixels = p.out_height * p.out_width;
  const int64_t max_pixels = MaxChainPixels(instance.math, p.dtype);
  const int64_t memory_slices =
      std::clamp<int64_t>(kSliceBytes / (FilterElements(p) * SumBytes(p.dtype)), 1, MostSlices(p, instance));
  int64_t images = std::min({p.batch, kTensorBytes / LargestImageBytes(p), kCoordinateLimit / image_pixels,
                             std::max<int64_t>(1, memory_slices * max_pixels / image_pixels)});
  if (fold::Applies(problem, instance)) {
    images =
        std::min(images, std::max<int64_t>(1, kFoldBytes / (InputElements(ImagesOf(p, 1)) * ElementSize(p.dtype))));
  }
  const int64_t depth = CeilDiv(images * image_pixels, instance.tile_k);
  const int64_t least = CeilDiv(images * image_pixels, max_pixels);
  // A slice of fewer than 8 steps spends its time filling the pipeline.
  const int64_t most = std::max(least, std::min(memory_slices, depth / 8));
  const int64_t tiles = TilesOf(p, instance);
  std::set<int64_t> counts = {least};
  for (int64_t waves = 1; waves <= 4; ++waves) {
    counts.insert(std::clamp(waves * device.multiprocessors / tiles, least, most));
  }
  if (IsWgmma(instance)) {
    for (int64_t slices = 2; slices <= wgmma::kMostBlocksOfCluster; ++slices) {
      counts.insert(std::clamp(slices, least, most));
    }
  }
  const double rounds = static_cast<double>(CeilDiv(p.batch, images));
  std::vector<Split> splits;
  for (const int64_t slices : counts) {
    for (const bool in_clusters : {false, true}) {
      // Slices of a round that is not the only one are added up by another kernel.
      const bool can = IsWgmma(instance) && wgmma::CanFormClusters(slices) && images == p.batch;
      if (in_clusters && !can) continue;
      Split split = {slices, images, in_clusters, 0};
      split.cycles = rounds * Cycles(p, instance, split, device);
      splits.push_back(split);
    }
  }
  std::stable_sort(splits.begin(), splits.end(), [](const Split& a, const Split& b) { return a.cycles < b.cycles; });
  if (splits.size() > 3) splits.erase(splits.begin() + 3, splits.end());
  return splits;
}

// Whether `a` computes faster than `b` whatever the pixels: by the arithmetic, or by wider loads.
bool Dominates(const Problem& p, const Instance& a, const Instance& b) {
  // To fold X may take longer than to load 8 bytes at once.
  if (fold::Applies(p, a) && b.alignment * ElementSize(b.dtype) == 8) return false;
  // Few channels leave most of a panel empty.
  const bool few_channels = 2 * fold::Seen(p, a).filter_channels < wgmma::PanelOf(p.dtype);
  if (IsWgmma(a) && a.alignment == b.alignment && few_channels) return false;
  if (a.math != b.math) return Rate(a.math, a.dtype) > Rate(b.math, b.dtype);
  if (a.alignment != b.alignment) return a.alignment > b.alignment;
  // Newer devices have better kernels of the same tile.
  return a.tile_m == b.tile_m && a.tile_n == b.tile_n && a.min_compute_capability > b.min_compute_capability;
}

// The instances that can run and that no other dominates, each with up to three splits, the best by the model first.
std::vector<Plan> ImplicitGemmPlans(const Problem& p, const Device& device, const Options& options,
                                    std::vector<Declined>* declined) {
  std::vector<InstanceId> able;
  for (size_t i = 0; i < std::size(kInstances); ++i) {
    if (kInstances[i].dtype != p.dtype) continue;
    std::string why_not = WhyNot(p, kInstances[i], device, options);
    if (why_not.empty()) {
      able.push_back(static_cast<InstanceId>(i));
    } else {
      declined->push_back({kInstances[i].name, std::move(why_not)});
    }
  }
  std::vector<std::pair<Plan, double>> ranked;
  for (const InstanceId id : able) {
    const auto better =
        std::find_if(able.begin(), able.end(), [&](InstanceId other) { return Dominates(p, Get(other), Get(id)); });
    if (better != able.end()) {
      declined->push_back({Get(id).name, std::string(Get(*better).name) + " is faster"});
      continue;
    }
    for (const Split& split : BestSplits(p, Get(id), device)) {
      Plan plan;
      plan.method = Method::kImplicitGemm;
      plan.instance = id;
      plan.slices = split.slices;
      plan.images_per_round = split.images;
      plan.in_clusters = split.in_clusters;
      // Rounding to tf32 takes the largest float32 numbers to infinity.
      plan.repair = ReadsPadding(p) || RoundsToTf32(Get(id));
      plan.reason = std::to_string(static_cast<int64_t>(split.cycles)) + " model cycles";
      ranked.emplace_back(std::move(plan), split.cycles);
    }
  }
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  std::vector<Plan> plans;
  for (auto& each : ranked) plans.push_back(std::move(each.first));
  return plans;
}

// --- The kernels that gather ---

// Of the kernels that gather: at least 256 pixels to a slice, within the memory.
int64_t MostGatherSlices(const Problem& p) {
  return std::max<int64_t>(1, std::min(Pixels(p) / 256, kSliceBytes / (FilterElements(p) * SumBytes(p.dtype))));
}

int64_t LeastGatherSlices(const Problem& p) {
  return std::min(MostGatherSlices(p), CeilDiv(Pixels(p), kMaxGatheredPixels));
}

// Slices that fill the device about four times.
int64_t GatherSlices(const Problem& p, int64_t tiles, const Device& device) {
  return std::clamp<int64_t>(CeilDiv(4 * device.multiprocessors, tiles), LeastGatherSlices(p), MostGatherSlices(p));
}

Plan GatherPlan(const Problem& p, Method method, int64_t tiles, const Device& device, std::string reason) {
  Plan plan;
  plan.method = method;
  plan.slices = GatherSlices(p, tiles, device);
  plan.images_per_round = p.batch;
  plan.reason = std::move(reason);
  return plan;
}

// The largest distance in elements of a tap from its window's corner.
int64_t FarthestTap(const Problem& p) {
  const int64_t rows = std::max(p.pad_top, (p.filter_height - 1) * p.dilation_height);
  const int64_t columns = std::max(p.pad_left, (p.filter_width - 1) * p.dilation_width);
  return (rows * p.in_width + columns) * p.in_channels + p.filter_channels;
}

std::string WhyNotDepthwise(const Problem& p) {
  if (p.groups == 1) return "there is one group";
  if (p.filter_channels > kMaxThinChannels) return "groups are wider than " + std::to_string(kMaxThinChannels);
  if (!CoordinatesFit(p, 0) || p.in_height * p.in_width * p.in_channels >= kCoordinateLimit ||
      FarthestTap(p) >= kCoordinateLimit) {
    return "offsets within an image exceed " + std::to_string(kCoordinateLimit);
  }
  return "";
}

bool IsEmpty(const Problem& p) { return HasNoProducts(p) || FilterElements(p) == 0; }

Plan Zeros() {
  Plan plan;
  plan.reason = "a sum over nothing";
  return plan;
}

}  // namespace

Status CheckDevice(const Device& device, int oldest) {
  if (device.compute_capability >= oldest) return Status();
  std::ostringstream message;
  message << "this build has code for compute capability " << oldest / 10.0 << " and newer, the device has "
          << device.compute_capability / 10.0
          << ": build for it, with a CUDA toolkit that can (CUDA 12 can from 5.0 on), or use the CPU";
  return Status(Code::kUnimplemented, message.str());
}

int64_t SumBytes(DataType dtype) { return dtype == DataType::kFloat64 ? 8 : 4; }

// A float32 sum of n terms has a relative error of about 2.6e-8 * sqrt(n / 2), which for 2048 is 0.8e-6 of the 1.5e-6
// allowed. Tensor cores truncate where they add, which loses about n / 16 * 2^-25, in tf32 n / 8: for 16384 that is
// 3e-5 or 6e-5, against the 2.4e-4 of rounding to half or to tf32 operands. Float64: 8192 stay under 4e-15.
int64_t MaxChainPixels(Math math, DataType dtype) {
  switch (math) {
    case Math::kWgmma:
    case Math::kWgmmaTf32:
    case Math::kTensorCore:
    case Math::kTf32:
      return 16384;
    case Math::kDmma:
    case Math::kSimt:
      break;
  }
  return dtype == DataType::kFloat64 ? 8192 : 2048;
}

bool ReadsPadding(const Problem& p) {
  const int64_t bottom = (p.out_height - 1) * p.stride_height + (p.filter_height - 1) * p.dilation_height - p.pad_top;
  const int64_t right = (p.out_width - 1) * p.stride_width + (p.filter_width - 1) * p.dilation_width - p.pad_left;
  return p.pad_top > 0 || p.pad_left > 0 || bottom >= p.in_height || right >= p.in_width;
}

Problem ImagesOf(const Problem& problem, int64_t images) {
  Problem part = problem;
  part.batch = images;
  return part;
}

Plan GeneralPlan(const Problem& p, const Device& device) {
  return IsEmpty(p) ? Zeros() : GatherPlan(p, Method::kGeneral, general::Tiles(p), device, "takes any problem");
}

Plan FrugalPlan(const Problem& p, const Device& device) {
  Plan plan = GeneralPlan(p, device);
  if (plan.method == Method::kGeneral) plan.slices = LeastGatherSlices(p);
  return plan;
}

std::vector<Plan> MakePlans(const Problem& p, const Device& device, const Options& options,
                            std::vector<Declined>* declined) {
  std::vector<Declined> ignored;
  if (declined == nullptr) declined = &ignored;
  if (IsEmpty(p)) return {Zeros()};
  std::vector<Plan> plans = ImplicitGemmPlans(p, device, options, declined);
  const std::string why_not_depthwise = WhyNotDepthwise(p);
  if (why_not_depthwise.empty()) {
    plans.push_back(GatherPlan(p, Method::kDepthwise, depthwise::Tiles(p), device, "thin groups"));
  } else {
    declined->push_back({"depthwise", why_not_depthwise});
  }
  // Several times slower than a kernel made for the case, so only where there is none, or where many groups might
  // favour its single launch.
  if (plans.empty() || p.groups > 1) {
    plans.push_back(GeneralPlan(p, device));
  } else {
    declined->push_back({"general", "a faster kernel takes the problem"});
  }
  return plans;
}

bool UsesWgmma(const Plan& plan) { return plan.method == Method::kImplicitGemm && IsWgmma(Get(plan.instance)); }

bool WritesResult(const Problem& p, const Plan& plan) { return UsesWgmma(plan) && plan.images_per_round >= p.batch; }

bool KeepsSlices(const Problem& p, const Plan& plan) {
  return !UsesWgmma(plan) ||
         wgmma::FinishOf(WritesResult(p, plan), plan.slices, plan.in_clusters) == wgmma::Finish::kSlices;
}

bool ReadsNhwcCopies(const Problem& p, const Plan& plan) {
  return p.layout == Layout::kNCHW && plan.method != Method::kGeneral;
}

bool Folds(const Plan& plan, const Problem& p) {
  return plan.method == Method::kImplicitGemm && fold::Applies(p, Get(plan.instance));
}

Problem SeenBy(const Plan& plan, const Problem& p) {
  return plan.method == Method::kImplicitGemm ? fold::Seen(p, Get(plan.instance)) : p;
}

Workspace WorkspaceOf(const Problem& p, const Plan& plan) {
  Workspace workspace;
  const auto take = [&workspace](int64_t bytes) {
    const int64_t offset = workspace.bytes;
    workspace.bytes += RoundUp(bytes, 256);
    return offset;
  };
  if (plan.method == Method::kZeros) return workspace;
  if (ReadsNhwcCopies(p, plan)) {
    const Problem round = ImagesOf(p, plan.images_per_round);
    workspace.input = take(InputElements(round) * ElementSize(p.dtype));
    workspace.out_backprop = take(OutputElements(round) * ElementSize(p.dtype));
  }
  const Problem seen = SeenBy(plan, p);
  if (Folds(plan, p)) {
    workspace.folded = take(InputElements(ImagesOf(seen, plan.images_per_round)) * ElementSize(p.dtype));
  }
  const int64_t filter_bytes = FilterElements(seen) * SumBytes(p.dtype);
  if (plan.images_per_round < p.batch) workspace.carry = take(filter_bytes);
  if (KeepsSlices(p, plan)) workspace.slices = take(plan.slices * filter_bytes);
  return workspace;
}

std::string Describe(const Problem& p, const Plan& plan) {
  std::ostringstream json;
  json << "{\"method\": \"" << kMethodNames[static_cast<int>(plan.method)] << "\", \"instance\": ";
  if (plan.method == Method::kImplicitGemm) {
    json << '"' << Get(plan.instance).name << '"';
  } else {
    json << "null";
  }
  const int64_t rounds = plan.images_per_round == 0 ? 0 : CeilDiv(p.batch, plan.images_per_round);
  json << ", \"slices\": " << plan.slices << ", \"rounds\": " << rounds
       << ", \"in_clusters\": " << (plan.in_clusters ? "true" : "false")
       << ", \"repair\": " << (plan.repair ? "true" : "false")
       << ", \"workspace_bytes\": " << WorkspaceOf(p, plan).bytes << ", \"reason\": \"" << plan.reason << "\"}";
  return json.str();
}

}  // namespace wgrad::cuda
