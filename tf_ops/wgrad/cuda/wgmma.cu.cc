#include "tf_ops/wgrad/cuda/wgmma.h"

#include <cooperative_groups.h>

#include <algorithm>

#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/tensor_map.h"
#include "tf_ops/wgrad/cuda/wgmma_block.h"
#include "tf_ops/wgrad/cuda/wgmma_sum.h"

namespace wgrad::cuda::wgmma {
namespace {

template <InstanceId id>
__global__ void __launch_bounds__(Tile<id>::kThreads, Tile<id>::kBlocks)
    Run(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap out_backprop,
        const __grid_constant__ Arguments a) {
  using Tile = wgmma::Tile<id>;
  extern __shared__ char unaligned[];
  const uint32_t address = (cute::cast_smem_ptr_to_uint(unaligned) + 1023) & ~1023u;
  char* shared = unaligned + (address - cute::cast_smem_ptr_to_uint(unaligned));
  auto* full = reinterpret_cast<FullBarrier*>(shared + Tile::kStages * Tile::kStageBytes);
  auto* empty = reinterpret_cast<EmptyBarrier*>(full + Tile::kStages);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Tile::kStages; ++stage) {
      full[stage].init(1);
      empty[stage].init(Tile::kWarpgroups);
    }
    cutlass::arch::fence_barrier_init();
  }
  __syncthreads();
  const Block<Tile> block = {a, address, full, empty};
  const int warpgroup = threadIdx.x / kWarpgroup;
  bool sound = true;
  if (warpgroup < Tile::kWarpgroups) {
    sound = block.MultiplyAndStore(warpgroup);
  } else if (threadIdx.x == Tile::kWarpgroups * kWarpgroup) {
    block.Load(input, out_backprop, shared);
  }
  if (a.filter_backprop == nullptr) return;
  if (a.slice_count > 1) {
    cooperative_groups::this_grid().sync();
    sound = SumSlices<typename Tile::Element>(a);
  }
  if (a.marks == nullptr) return;
  sound = __syncthreads_and(sound);
  if (threadIdx.x == 0) a.marks[blockIdx.x] = !sound;
}

// Blocks of the kernel that run at the same time: those that add up the slices wait for one another.
template <InstanceId id>
Status CountResidentBlocks(int64_t* blocks) {
  using Tile = wgmma::Tile<id>;
  constexpr const char* kName = Tile::kInstance.name;
  int device = 0, multiprocessors = 0, of_each = 0;
  Status status =
      Check(cudaFuncSetAttribute(Run<id>, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSharedBytes), kName);
  if (status.ok()) status = Check(cudaGetDevice(&device), kName);
  if (status.ok()) {
    status = Check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), kName);
  }
  if (status.ok()) {
    status = Check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&of_each, Run<id>, Tile::kThreads, Tile::kSharedBytes),
                   kName);
  }
  *blocks = int64_t{of_each} * multiprocessors;
  return status;
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
  if (!MapInput(p, input, &input_map) || !MapOutBackprop(p, out_backprop, &out_backprop_map)) {
    return Status(Code::kInternal, std::string(kName) + ": the driver refuses a tensor map");
  }
  const auto narrow = [](int64_t value) { return static_cast<int>(value); };
  const int64_t group_out_channels = p.out_channels / p.groups;
  const int64_t row_tiles = CeilDiv(RowPanels(p), Tile::kRowPanels);
  const int64_t channel_tiles = CeilDiv(group_out_channels, Tile::kChannels);
  Arguments arguments = {cutlass::FastDivmod(narrow(p.out_width)),
                         cutlass::FastDivmod(narrow(p.out_height)),
                         CeilDiv(Pixels(p), kPixels),
                         slice_count,
                         row_tiles * p.groups * channel_tiles * slice_count,
                         narrow(row_tiles),
                         narrow(RowPanels(p)),
                         narrow(CeilDiv(p.filter_channels, kPanel)),
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
                         results.filter_backprop,
                         results.marks->data};
  int64_t blocks;
  const Status status = CountResidentBlocks<id>(&blocks);
  if (!status.ok()) return status;
  blocks = std::min({blocks, arguments.items, kMostBlocks});
  results.marks->count = results.marks->data == nullptr ? 0 : blocks;
  void* parameters[] = {&input_map, &out_backprop_map, &arguments};
  const bool adds_up = results.filter_backprop != nullptr && slice_count > 1;
  const void* kernel = reinterpret_cast<const void*>(Run<id>);
  const dim3 grid(narrow(blocks)), threads(Tile::kThreads);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  return Check(adds_up ? cudaLaunchCooperativeKernel(kernel, grid, threads, parameters, Tile::kSharedBytes, cuda_stream)
                       : cudaLaunchKernel(kernel, grid, threads, parameters, Tile::kSharedBytes, cuda_stream),
               kName);
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
