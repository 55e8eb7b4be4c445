#include "tf_ops/wgrad/cuda/wgmma.h"

#include <cooperative_groups.h>

#include <algorithm>

#include "cutlass/arch/reg_reconfig.h"
#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/tensor_map.h"
#include "tf_ops/wgrad/cuda/wgmma_block.h"
#include "tf_ops/wgrad/cuda/wgmma_cluster.h"
#include "tf_ops/wgrad/cuda/wgmma_sum.h"

namespace wgrad::cuda::wgmma {
namespace {

// Registers of each of 384 threads: as the kernel is launched; and once those that do not multiply have lent theirs.
inline constexpr int kLaunched = 168, kLender = 104, kBorrower = 200;
static_assert(2 * kBorrower + kLender == 3 * kLaunched, "of three warpgroups, two multiply");

// The instruction is for all warps of a warpgroup at once, and they must have met since the last one.
template <typename Tile>
__device__ void ReturnRegisters(int warpgroup) {
  static_assert(Tile::kWarpgroups == 2 && Tile::kThreads == 3 * kWarpgroup);
  cutlass::arch::NamedBarrier::sync(kWarpgroup, 1 + warpgroup);
  if (warpgroup < Tile::kWarpgroups) {
    cutlass::arch::warpgroup_reg_dealloc<kLaunched>();
  } else {
    cutlass::arch::warpgroup_reg_alloc<kLaunched>();
  }
}

template <InstanceId id, Finish finish>
__global__ void __launch_bounds__(Tile<id>::kThreads, Tile<id>::kBlocks)
    Run(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap out_backprop,
        const __grid_constant__ Arguments a, const __grid_constant__ Repair<typename Tile<id>::Element> repair) {
  using Tile = wgmma::Tile<id>;
  extern __shared__ char unaligned[];
  const uint32_t address = (cute::cast_smem_ptr_to_uint(unaligned) + 1023) & ~1023u;
  char* shared = unaligned + (address - cute::cast_smem_ptr_to_uint(unaligned));
  auto* full = reinterpret_cast<FullBarrier*>(shared + Tile::kStages * Tile::kStageBytes);
  auto* empty = reinterpret_cast<ArrivalBarrier*>(full + Tile::kStages);
  ArrivalBarrier* transposed = empty + Tile::kStages;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      full[stage].init(1);
      empty[stage].init(Tile::kTransposes ? Tile::kWarpgroups * 4 : Tile::kWarpgroups);
      if constexpr (Tile::kTransposes) transposed[stage].init(Tile::kTransposers);
    }
    cutlass::arch::fence_barrier_init();
    cute::prefetch_tma_descriptor(&input);
    cute::prefetch_tma_descriptor(&out_backprop);
  }
  __syncthreads();
  const Cluster<Tile> cluster = {reinterpret_cast<float4*>(shared)};
  const Block<Tile, finish> block = {a, shared, address, full, transposed, empty, cluster};
  // Of the same number in all lanes, and of an elected thread, the compiler knows that one thread issues the loads.
  // Otherwise it puts a loop over the lanes around each of them.
  const int warpgroup = __shfl_sync(~0u, threadIdx.x / kWarpgroup, 0);
  if (warpgroup < Tile::kWarpgroups) {
    if constexpr (Tile::kLendsRegisters) cutlass::arch::warpgroup_reg_alloc<kBorrower>();
    block.MultiplyAndStore(warpgroup, repair);
  } else {
    if constexpr (Tile::kLendsRegisters) cutlass::arch::warpgroup_reg_dealloc<kLender>();
    const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0) - 4 * Tile::kWarpgroups;
    if constexpr (Tile::kTransposes) {
      if (warp < Tile::kTransposers) block.Transpose(warp);
    }
    if (warp == Tile::kTransposers && cute::elect_one_sync()) block.Load(input, out_backprop);
  }
  __syncwarp();
  if constexpr (Tile::kLendsRegisters) ReturnRegisters<Tile>(warpgroup);
  if constexpr (finish == Finish::kCluster) {
    cluster.SumAndStore(a, warpgroup, repair);
  } else if (finish == Finish::kSlices && a.filter_backprop != nullptr) {
    cooperative_groups::this_grid().sync();
    SumSlices(a, repair);
  }
}

// Blocks that run at the same time: those that add up the slices wait for one another.
template <typename Tile>
Status CountResidentBlocks(const void* kernel, int64_t* blocks) {
  constexpr const char* kName = Tile::kInstance.name;
  int device = 0, multiprocessors = 0, of_each = 0;
  Status status = Check(cudaGetDevice(&device), kName);
  if (status.ok()) {
    status = Check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), kName);
  }
  if (status.ok()) {
    status = Check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, kernel, Tile::kThreads, Tile::kSharedBytes),
                   kName);
  }
  *blocks = int64_t{of_each} * multiprocessors;
  return status;
}

template <InstanceId id>
const void* KernelOf(Finish finish) {
  switch (finish) {
    case Finish::kRound:
      return reinterpret_cast<const void*>(Run<id, Finish::kRound>);
    case Finish::kCluster:
      return reinterpret_cast<const void*>(Run<id, Finish::kCluster>);
    case Finish::kSlices:
      break;
  }
  return reinterpret_cast<const void*>(Run<id, Finish::kSlices>);
}

template <InstanceId id>
Status LaunchTile(const Problem& p, const void* input, const void* out_backprop, int64_t slice_count,
                  const Results& results, Stream stream) {
  using Tile = wgmma::Tile<id>;
  constexpr const char* kName = Tile::kInstance.name;
  if (GetDriver().encode_tiled == nullptr || GetDriver().encode_im2col == nullptr) {
    return Status(Code::kInternal, std::string(kName) + ": the driver has no tensor maps");
  }
  CUtensorMap input_map, out_backprop_map;
  if (!MapInput(p, input, Tile::kPixels, &input_map) ||
      !MapOutBackprop(p, out_backprop, Tile::kPixels, &out_backprop_map)) {
    return Status(Code::kInternal, std::string(kName) + ": the driver refuses a tensor map");
  }
  const auto narrow = [](int64_t value) { return static_cast<int>(value); };
  const int64_t group_out_channels = p.out_channels / p.groups;
  const int64_t row_tiles = CeilDiv(RowPanels(p), Tile::kRowPanels);
  const int64_t channel_tiles = CeilDiv(group_out_channels, Tile::kChannels);
  const int64_t depth = CeilDiv(Pixels(p), Tile::kPixels);
  const Finish finish = FinishOf(results.filter_backprop != nullptr, slice_count, results.in_clusters);
  Arguments arguments = {cutlass::FastDivmod(narrow(p.out_width)),
                         cutlass::FastDivmod(narrow(p.out_height)),
                         narrow(depth),
                         narrow(CeilDiv(depth, slice_count)),
                         narrow(slice_count),
                         narrow(row_tiles * p.groups * channel_tiles * slice_count),
                         finish == Finish::kCluster ? narrow(slice_count) : 1,
                         narrow(row_tiles),
                         narrow(RowPanels(p)),
                         narrow(CeilDiv(p.filter_channels, Tile::kPanel)),
                         narrow(p.filter_width),
                         narrow(p.filter_channels),
                         narrow(p.groups),
                         narrow(channel_tiles),
                         narrow(group_out_channels),
                         narrow(p.pad_top),
                         narrow(p.pad_left),
                         narrow(p.stride_height),
                         narrow(p.stride_width),
                         narrow(p.dilation_height),
                         narrow(p.dilation_width),
                         FilterRows(p),
                         p.out_channels,
                         static_cast<float*>(results.slices),
                         results.filter_backprop};
  Repair<typename Tile::Element> repair(results.original, results.filter_backprop);
  const void* kernel = KernelOf<id>(finish);
  Status status =
      Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes), kName);
  if (!status.ok()) return status;
  if (Tile::kLendsRegisters) {
    // With fewer, the threads that borrow would wait for ever.
    cudaFuncAttributes attributes;
    status = Check(cudaFuncGetAttributes(&attributes, kernel), kName);
    if (!status.ok()) return status;
    if (attributes.numRegs != kLaunched) {
      return Status(Code::kInternal, std::string(kName) + ": compiled for " + std::to_string(attributes.numRegs) +
                                         " registers instead of " + std::to_string(kLaunched));
    }
  }
  int64_t blocks = arguments.items;
  cudaLaunchAttribute attribute = {};
  if (finish == Finish::kCluster) {
    // A block's sums take the place of its stages, so that it cannot go on to another item.
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {static_cast<unsigned>(slice_count), 1, 1};
  } else {
    // No cluster of one block: so launched, 3x3 layers took 1.4 times as long on an H100.
    int64_t resident;
    status = CountResidentBlocks<Tile>(kernel, &resident);
    if (!status.ok()) return status;
    blocks = std::min(blocks, resident);
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = finish == Finish::kSlices && results.filter_backprop != nullptr;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(Tile::kThreads);
  config.dynamicSmemBytes = Tile::kSharedBytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = 1;
  void* parameters[] = {&input_map, &out_backprop_map, &arguments, &repair};
  return Check(cudaLaunchKernelExC(&config, kernel, parameters), kName);
}

}  // namespace

Status Launch(InstanceId id, const Problem& p, const void* input, const void* out_backprop, int64_t slice_count,
              const Results& results, Stream stream) {
  switch (id) {
#define WGRAD_LAUNCH(name, ...) \
  case InstanceId::k##name:     \
    return LaunchTile<InstanceId::k##name>(p, input, out_backprop, slice_count, results, stream);
    WGRAD_CUDA_WGMMA_INSTANCES(WGRAD_LAUNCH)
#undef WGRAD_LAUNCH
    default:
      return Status(Code::kInternal, "not an instance of wgmma");
  }
}

}  // namespace wgrad::cuda::wgmma
