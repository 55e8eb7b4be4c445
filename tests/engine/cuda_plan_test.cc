// The planner: which kernel, alignment, tile and split-K it takes for which problem on which device.
#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "tests/engine/check.h"
#include "tf_ops/wgrad/cuda/general.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"
#include "tf_ops/wgrad/cuda/plan.h"
#include "tf_ops/wgrad/cuda/wgmma.h"

namespace wgrad::cuda {
namespace {

constexpr Device kTuring = {75, 40};
constexpr Device kA100 = {80, 108};
constexpr Device kH100 = {90, 132};

Problem Conv(DataType dtype, int64_t batch, int64_t size, int64_t in_channels, int64_t out_channels, int64_t filter,
             int64_t groups = 1) {
  Problem p;
  p.dtype = dtype;
  p.batch = batch;
  p.in_height = p.in_width = p.out_height = p.out_width = size;
  p.in_channels = in_channels;
  p.filter_channels = in_channels / groups;
  p.out_channels = out_channels;
  p.filter_height = p.filter_width = filter;
  p.groups = groups;
  p.pad_top = p.pad_left = filter / 2;
  return p;
}

const Instance& InstanceOf(const Plan& plan) { return Get(plan.instance); }

std::string WhyDeclined(const std::vector<Declined>& declined, const std::string& candidate) {
  for (const Declined& each : declined) {
    if (each.candidate == candidate) return each.reason;
  }
  return "";
}

void TestMathFollowsTypeDeviceAndOptions() {
  Options no_tf32;
  no_tf32.allow_tf32 = false;
  const auto math = [](DataType dtype, const Device& device, const Options& options) {
    const Plan plan = MakePlans(Conv(dtype, 32, 14, 256, 256, 3), device, options)[0];
    CHECK_EQ(plan.method == Method::kImplicitGemm, true);
    return InstanceOf(plan).math;
  };
  CHECK_TRUE(math(DataType::kFloat16, kA100, {}) == Math::kTensorCore);
  CHECK_TRUE(math(DataType::kBFloat16, kH100, {}) == Math::kWgmma);
  CHECK_TRUE(math(DataType::kBFloat16, {100, 148}, {}) == Math::kTensorCore);
  CHECK_TRUE(math(DataType::kFloat32, kA100, {}) == Math::kTf32);
  CHECK_TRUE(math(DataType::kFloat32, kH100, {}) == Math::kWgmmaTf32);
  CHECK_TRUE(math(DataType::kFloat32, kA100, no_tf32) == Math::kSimt);
  CHECK_TRUE(math(DataType::kFloat32, kH100, no_tf32) == Math::kSimt);
  CHECK_TRUE(math(DataType::kFloat32, kTuring, {}) == Math::kSimt);
  CHECK_TRUE(math(DataType::kFloat64, kA100, {}) == Math::kDmma);
  CHECK_TRUE(math(DataType::kFloat64, kTuring, {}) == Math::kSimt);
}

void TestADeviceOlderThanTheBuildIsRefused() {
  CHECK_TRUE(CheckDevice(kTuring, 75).ok());
  CHECK_TRUE(CheckDevice(kH100, 75).ok());
  const Status refused = CheckDevice({61, 20}, 75);
  CHECK_TRUE(refused.code() == Code::kUnimplemented);
  CHECK_EQ(refused.message(),
           "this build has code for compute capability 7.5 and newer, the device has 6.1: build for it, with a CUDA "
           "toolkit that can (CUDA 12 can from 5.0 on), or use the CPU");
}

void TestNoTf32PlanWhereItIsOff() {
  Options no_tf32;
  no_tf32.allow_tf32 = false;
  for (const Plan& plan : MakePlans(Conv(DataType::kFloat32, 8, 14, 64, 64, 3), kA100, no_tf32)) {
    CHECK_TRUE(InstanceOf(plan).math == Math::kSimt);
  }
}

void TestHalfOnTuringGoesToTheGeneralKernel() {
  std::vector<Declined> declined;
  const auto plans = MakePlans(Conv(DataType::kFloat16, 8, 14, 64, 64, 3), kTuring, {}, &declined);
  CHECK_EQ(plans.size(), 1u);
  CHECK_TRUE(plans[0].method == Method::kGeneral);
  CHECK_EQ(WhyDeclined(declined, "F16Align8Tile128x128"), "needs compute capability 8, the device has 7.5");
}

void TestAlignment() {
  const auto alignment = [](int64_t in_channels, int64_t out_channels, const Options& options) {
    return InstanceOf(MakePlans(Conv(DataType::kFloat16, 32, 28, in_channels, out_channels, 3), kA100, options)[0])
        .alignment;
  };
  CHECK_EQ(alignment(64, 128, {}), 8);
  CHECK_EQ(alignment(60, 128, {}), 4);
  CHECK_EQ(alignment(64, 100, {}), 4);
  CHECK_EQ(alignment(22, 64, {}), 2);
  CHECK_EQ(alignment(23, 64, {}), 1);
  Options unaligned;
  unaligned.pointer_alignment = 8;
  CHECK_EQ(alignment(64, 128, unaligned), 4);
  unaligned.pointer_alignment = 4;
  CHECK_EQ(alignment(64, 128, unaligned), 2);
  unaligned.pointer_alignment = 2;
  CHECK_EQ(alignment(64, 128, unaligned), 1);
}

void TestFewChannelsAreFolded() {
  for (const DataType dtype : {DataType::kFloat16, DataType::kFloat32}) {
    const Problem p = Conv(dtype, 32, 28, 3, 64, 7);
    for (const Device& device : {kA100, kH100}) {
      const Plan plan = MakePlans(p, device, {})[0];
      CHECK_EQ(InstanceOf(plan).alignment * ElementSize(dtype), 16);
      CHECK_TRUE(Folds(plan, p));
      const Problem seen = SeenBy(plan, p);
      CHECK_EQ(seen.filter_width, 1);
      CHECK_EQ(seen.in_channels, 24);
      CHECK_EQ(seen.filter_channels, UsesWgmma(plan) ? 21 : 24);
      const Workspace workspace = WorkspaceOf(p, plan);
      CHECK_LE(workspace.folded + InputElements(seen) * ElementSize(dtype), workspace.slices);
    }
  }
  // Taps that are not neighbours cannot be.
  Problem dilated = Conv(DataType::kFloat16, 32, 28, 3, 64, 7);
  dilated.dilation_width = 2;
  dilated.out_width -= 6;
  CHECK_EQ(InstanceOf(MakePlans(dilated, kA100, {})[0]).alignment, 1);
}

void TestWgmmaTakesWhatCanBeGathered() {
  const auto why_not = [](const Problem& p, const Device& device) {
    std::vector<Declined> declined;
    MakePlans(p, device, {}, &declined);
    return WhyDeclined(declined, "F16WgmmaTile128x128");
  };
  Problem p = Conv(DataType::kFloat16, 32, 28, 64, 64, 3);
  CHECK_EQ(why_not(p, kH100), "");
  CHECK_EQ(why_not(p, {100, 148}), "has code for compute capability 9 alone");
  const std::string too_far = "strides, padding or dilations are larger than the tensor memory accelerator takes";
  Problem strided = p;
  strided.stride_height = 9;
  strided.out_height = 4;
  CHECK_EQ(why_not(strided, kH100), too_far);
  Problem padded = p;
  padded.pad_left += 128;
  padded.out_width += 256;
  CHECK_EQ(why_not(padded, kH100), too_far);
}

void TestWgmmaTakesAllGroupsInOneLaunch() {
  Problem p = Conv(DataType::kFloat16, 32, 14, 64 * 64, 64 * 64, 3);
  p.groups = 64;
  p.filter_channels = 64;
  const Plan plan = MakePlans(p, kH100, {})[0];
  CHECK_TRUE(UsesWgmma(plan));
  // 64 x 5 tiles of 64 x 128 are two and a half times the device's blocks, which two slices fill better.
  CHECK_LE(plan.slices, 2);
  CHECK_TRUE(MakePlans(p, kA100, {})[0].method != Method::kImplicitGemm);
}

void TestClustersSumFewSlices() {
  const Problem p = Conv(DataType::kFloat16, 32, 14, 256, 256, 3);
  // 18 tiles of 256 x 128: five slices of each are 18 clusters, of which the device has room for 22 at once.
  bool found = false;
  for (const Plan& plan : MakePlans(p, kH100, {})) {
    found = found || (plan.in_clusters && plan.slices == 5 && InstanceOf(plan).tile_m == 256);
    if (plan.in_clusters) CHECK_TRUE(UsesWgmma(plan) && wgmma::CanFormClusters(plan.slices));
  }
  CHECK_TRUE(found);
  for (const Plan& plan : MakePlans(p, kA100, {})) CHECK_TRUE(!plan.in_clusters);
}

void TestOnlySlicesThatGoThroughMemoryTakeIt() {
  const Problem p = Conv(DataType::kFloat16, 32, 14, 256, 256, 3);
  for (Plan plan : MakePlans(p, kH100, {})) {
    const bool in_memory = !UsesWgmma(plan) || (plan.slices > 1 && !plan.in_clusters);
    const int64_t bytes = plan.slices * FilterElements(p) * SumBytes(p.dtype);
    CHECK_EQ(WorkspaceOf(p, plan).bytes, in_memory ? bytes : 0);
    // The sums of several rounds do.
    plan.images_per_round = 16;
    CHECK_EQ(WorkspaceOf(p, plan).bytes, bytes + FilterElements(p) * SumBytes(p.dtype));
  }
}

// Its result is stored 16 bytes at a time, of NCHW tensors too.
void TestWgmmaNeedsAlignment() {
  for (const DataType dtype : {DataType::kFloat16, DataType::kFloat32}) {
    for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
      Problem p = Conv(dtype, 32, 14, 256, 256, 3);
      p.layout = layout;
      Options options;
      CHECK_TRUE(UsesWgmma(MakePlans(p, kH100, options)[0]));
      options.pointer_alignment = 8;
      for (const Plan& plan : MakePlans(p, kH100, options)) CHECK_TRUE(!UsesWgmma(plan));
    }
  }
}

// A panel has 64 channels of a tap, or 32 of float32; the filter's last ones may leave one half empty.
void TestPanelsOfFilterRows() {
  CHECK_EQ(wgmma::RowPanels(Conv(DataType::kBFloat16, 32, 14, 72, 64, 3)), 9 * 2);
  CHECK_EQ(wgmma::RowPanels(Conv(DataType::kFloat32, 32, 14, 72, 64, 3)), 9 * 3);
}

void TestSplitFillsTheDevice() {
  // 64 x 576 outputs are one or two large tiles; without split-K nearly all multiprocessors would idle.
  const Problem p = Conv(DataType::kFloat16, 256, 56, 64, 64, 3);
  const Plan plan = MakePlans(p, kA100, {})[0];
  const Instance& instance = InstanceOf(plan);
  const int64_t tiles = CeilDiv(p.out_channels, instance.tile_m) * CeilDiv(FilterRows(p), instance.tile_n);
  CHECK_LE(kA100.multiprocessors / 2, tiles * plan.slices);
}

// Which is the fastest, a model of the device cannot tell: all are measured.
void TestEachInstanceHasSplitsToChooseFrom() {
  std::map<InstanceId, std::set<std::pair<int64_t, bool>>> splits;
  for (const Plan& plan : MakePlans(Conv(DataType::kFloat16, 256, 56, 64, 64, 3), kH100, {})) {
    splits[plan.instance].insert({plan.slices, plan.in_clusters});
  }
  CHECK_LE(2u, splits.size());
  for (const auto& [instance, each] : splits) {
    CHECK_LE(2u, each.size());
    CHECK_LE(each.size(), 3u);
  }
}

void TestManyTilesNeedNoSplit() {
  const Plan plan = MakePlans(Conv(DataType::kFloat16, 8, 7, 2048, 2048, 3), kA100, {})[0];
  CHECK_EQ(plan.slices, 1);
  CHECK_EQ(InstanceOf(plan).tile_m * InstanceOf(plan).tile_n, 256 * 128);
}

void TestGroups() {
  const auto method = [](int64_t channels, int64_t groups) {
    return MakePlans(Conv(DataType::kFloat32, 8, 14, channels, channels, 3, groups), kA100, {})[0].method;
  };
  CHECK_TRUE(method(64, 2) == Method::kImplicitGemm);
  CHECK_TRUE(method(64, 64) == Method::kDepthwise);
  CHECK_TRUE(method(128, 32) == Method::kDepthwise);
  CHECK_TRUE(method(64 * 64, 64) == Method::kGeneral);  // 64 groups of 64: too many launches, too wide for depthwise
}

void TestHugeImageGoesToTheGeneralKernel() {
  // 40,000 x 40,000 x 1 half values: 3.2 GB in one image.
  std::vector<Declined> declined;
  const auto plans = MakePlans(Conv(DataType::kFloat16, 1, 40000, 1, 1, 3), kA100, {}, &declined);
  CHECK_TRUE(plans[0].method == Method::kGeneral);
  CHECK_EQ(WhyDeclined(declined, "F16Align1Tile64x64"), "one image has 3200000000 bytes, more than 2147483647");
}

void TestHugeBatchGoesInRounds() {
  // 24 images of 205 MB: 4.9 GB, more than CUTLASS can address at once.
  const Problem p = Conv(DataType::kFloat16, 24, 2000, 32, 32, 3);
  const Plan plan = MakePlans(p, kA100, {})[0];
  CHECK_TRUE(plan.method == Method::kImplicitGemm);
  CHECK_LE(InputElements(ImagesOf(p, plan.images_per_round)) * 2, std::numeric_limits<int32_t>::max());
  CHECK_LE(1, plan.images_per_round);
}

void TestGridsStayWithinTheirLimits() {
  for (const int64_t blocks : {int64_t{1}, int64_t{1000}, (int64_t{1} << 31) - 1, int64_t{1} << 31, int64_t{1} << 45}) {
    const Grid grid = GridOf(blocks);
    CHECK_LE(grid.x, 0x7fffffffu);
    CHECK_LE(grid.y, 65535u);
    CHECK_LE(blocks, BlockNumber(grid, grid.x - 1, grid.y - 1) + 1);
    CHECK_LE(int64_t{grid.x} * grid.y - blocks, grid.y - 1);
  }
}

// float32 sums of at most 2048 pixels each: more slices than the grid's z dimension has places.
void TestTooManySlicesForTheGridGoToTheGeneralKernel() {
  Options no_tf32;
  no_tf32.allow_tf32 = false;
  std::vector<Declined> declined;
  const auto plans = MakePlans(Conv(DataType::kFloat32, 1, 13000, 3, 3, 3), kA100, no_tf32, &declined);
  CHECK_TRUE(plans[0].method == Method::kGeneral);
  CHECK_EQ(WhyDeclined(declined, "F32SimtTile64x64"),
           "slices that accuracy takes: 82520, that the grid and 32-bit offsets have room for: 65535");
}

// 32 pixels of 2^21 channels of 32 bits are 2^31 bits.
void TestTilesThatBeginTooFarGoToSmallerOnes() {
  std::vector<Declined> declined;
  const auto plans = MakePlans(Conv(DataType::kFloat32, 1, 8, 128, (1 << 21) + 32, 1), kA100, {}, &declined);
  CHECK_LE(1u, plans.size());
  for (const Plan& plan : plans) CHECK_TRUE(plan.method != Method::kImplicitGemm || InstanceOf(plan).tile_k < 32);
  CHECK_EQ(WhyDeclined(declined, "Tf32Align4Tile64x64"),
           "slices that accuracy takes: 1, that the grid and 32-bit offsets have room for: 0");
}

// The grid's y dimension holds the tiles of filter rows, four to one.
void TestTooManyFilterRowsForTheGridGoToTheGeneralKernel() {
  std::vector<Declined> declined;
  const auto plans = MakePlans(Conv(DataType::kFloat16, 1, 1, 1 << 25, 8, 1), kA100, {}, &declined);
  for (const Plan& plan : plans) {
    CHECK_TRUE(plan.method != Method::kImplicitGemm || InstanceOf(plan).tile_n > 64);
  }
  CHECK_EQ(WhyDeclined(declined, "F16Align8Tile64x64"), "524288 tiles of filter rows, the grid has room for 262140");
}

// The padding lifts the tap so far above its window's corner that 32 bits do not hold the distance.
void TestFarTapsAreNotNarrowed() {
  Problem p = Conv(DataType::kFloat32, 1, 64, 64, 64, 1, 64);
  p.in_height = 4;
  p.out_height = 2;
  p.stride_height = p.pad_top = 1 << 20;
  std::vector<Declined> declined;
  MakePlans(p, kA100, {}, &declined);
  CHECK_EQ(WhyDeclined(declined, "depthwise"), "offsets within an image exceed 1073741824");
}

void TestHugeStrideIsNotNarrowed() {
  Problem p = Conv(DataType::kFloat32, 2, 8, 4, 4, 1);
  p.out_height = p.out_width = 1;
  p.stride_height = int64_t{1} << 31;
  CHECK_TRUE(MakePlans(p, kA100, {})[0].method == Method::kGeneral);
}

void TestReadsPadding() {
  Problem p = Conv(DataType::kFloat32, 1, 8, 1, 1, 3);
  CHECK_TRUE(ReadsPadding(p));
  p.pad_top = p.pad_left = 0;
  CHECK_TRUE(ReadsPadding(p));  // below and right
  p.out_height = p.out_width = 6;
  CHECK_TRUE(!ReadsPadding(p));
}

// What must hold of every plan whatsoever.
void TestInvariants() {
  std::mt19937 random(3);
  const auto pick = [&random](std::initializer_list<int64_t> values) {
    return values.begin()[random() % values.size()];
  };
  for (int i = 0; i < 20000; ++i) {
    Problem p = Conv(static_cast<DataType>(random() % 4), pick({1, 2, 7, 32, 256, 5000}), pick({1, 7, 14, 56, 224}),
                     pick({1, 3, 8, 12, 64, 96, 512, 2048}), 0, pick({1, 3, 5, 7}));
    p.groups = pick({1, 1, 1, 2, p.in_channels});
    if (p.in_channels % p.groups != 0) continue;
    p.filter_channels = p.in_channels / p.groups;
    p.out_channels = p.groups * pick({1, 2, 8, 63, 256, (1 << 21) + 32});
    p.layout = random() % 2 == 0 ? Layout::kNHWC : Layout::kNCHW;
    const Device device = {static_cast<int>(pick({50, 75, 80, 86, 90, 120})),
                           static_cast<int>(pick({1, 40, 108, 132}))};
    Options options;
    options.allow_tf32 = random() % 2 == 0;
    options.pointer_alignment = pick({2, 4, 8, 16, 256});
    if (options.pointer_alignment < ElementSize(p.dtype)) continue;
    const std::vector<Plan> plans = MakePlans(p, device, options);
    CHECK_LE(1u, plans.size());
    for (const Plan& plan : plans) {
      CHECK_TRUE(plan.reason != "");
      CHECK_LE(1, plan.slices);
      CHECK_LE(plan.slices, 65535);
      CHECK_LE(1, plan.images_per_round);
      CHECK_LE(plan.images_per_round, p.batch);
      const Workspace workspace = WorkspaceOf(p, plan);
      const int64_t filter_bytes = FilterElements(p) * (p.dtype == DataType::kFloat64 ? 8 : 4);
      const int64_t slices = KeepsSlices(p, plan) ? plan.slices : 0;
      CHECK_LE(workspace.slices + slices * filter_bytes, workspace.bytes);
      CHECK_EQ(workspace.slices % 256, 0);
      if (plan.method != Method::kImplicitGemm) {
        // Or what 256 MiB hold.
        CHECK_TRUE(Pixels(p) / plan.slices <= 1 << 20 ||
                   plan.slices == std::max<int64_t>(1, (256 << 20) / filter_bytes));
        continue;
      }
      const Instance& instance = InstanceOf(plan);
      CHECK_TRUE(instance.dtype == p.dtype);
      CHECK_LE(instance.min_compute_capability, device.compute_capability);
      CHECK_EQ(SeenBy(plan, p).in_channels / p.groups % instance.alignment, 0);
      CHECK_EQ(p.out_channels / p.groups % instance.alignment, 0);
      CHECK_TRUE(options.allow_tf32 || !RoundsToTf32(instance));
      // Rounding to tf32 may also overflow.
      CHECK_EQ(plan.repair, ReadsPadding(p) || RoundsToTf32(instance));
      // CUTLASS multiplies the elements before a tile by the bits of one in 32 bits.
      CHECK_TRUE(UsesWgmma(plan) || (plan.slices * instance.tile_k + 1) * p.out_channels * ElementSize(p.dtype) * 8 <=
                                        std::numeric_limits<int32_t>::max());
      const int64_t pixels = plan.images_per_round * p.out_height * p.out_width;
      const int64_t limit = instance.math == Math::kSimt && p.dtype == DataType::kFloat32 ? 2048 : 16384;
      CHECK_LE(pixels / plan.slices, limit);
    }
  }
}

void TestEqualInputsEqualPlans() {
  const Problem p = Conv(DataType::kBFloat16, 32, 28, 128, 128, 3);
  CHECK_EQ(Describe(p, MakePlans(p, kH100, {})[0]), Describe(p, MakePlans(p, kH100, {})[0]));
}

}  // namespace
}  // namespace wgrad::cuda

int main() {
  using namespace wgrad::cuda;
  TestMathFollowsTypeDeviceAndOptions();
  TestADeviceOlderThanTheBuildIsRefused();
  TestNoTf32PlanWhereItIsOff();
  TestHalfOnTuringGoesToTheGeneralKernel();
  TestAlignment();
  TestFewChannelsAreFolded();
  TestWgmmaTakesWhatCanBeGathered();
  TestWgmmaTakesAllGroupsInOneLaunch();
  TestSplitFillsTheDevice();
  TestEachInstanceHasSplitsToChooseFrom();
  wgrad::cuda::TestClustersSumFewSlices();
  wgrad::cuda::TestOnlySlicesThatGoThroughMemoryTakeIt();
  wgrad::cuda::TestWgmmaNeedsAlignment();
  wgrad::cuda::TestPanelsOfFilterRows();
  TestManyTilesNeedNoSplit();
  TestGroups();
  TestHugeImageGoesToTheGeneralKernel();
  TestHugeBatchGoesInRounds();
  TestGridsStayWithinTheirLimits();
  TestTooManySlicesForTheGridGoToTheGeneralKernel();
  TestTilesThatBeginTooFarGoToSmallerOnes();
  TestTooManyFilterRowsForTheGridGoToTheGeneralKernel();
  TestFarTapsAreNotNarrowed();
  TestHugeStrideIsNotNarrowed();
  TestReadsPadding();
  TestInvariants();
  TestEqualInputsEqualPlans();
  return Failures();
}
