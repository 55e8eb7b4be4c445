// CUTLASS's implicit GEMM for the filter gradient, from a row of instances.h to a kernel and its launch.
#ifndef TF_OPS_WGRAD_CUDA_IMPLICIT_GEMM_H_
#define TF_OPS_WGRAD_CUDA_IMPLICIT_GEMM_H_

#include <algorithm>

#include "cutlass/conv/kernel/default_conv2d_wgrad.h"
#include "cutlass/device_kernel.h"
#include "cutlass/epilogue/thread/linear_combination.h"
#include "cutlass/gemm/threadblock/threadblock_swizzle.h"
#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda {

template <DataType dtype, Math math>
struct Arithmetic;

template <>
struct Arithmetic<DataType::kFloat16, Math::kTensorCore> {
  using Element = cutlass::half_t;
  using Sum = float;
  using Class = cutlass::arch::OpClassTensorOp;
  using Arch = cutlass::arch::Sm80;
  using Instruction = cutlass::gemm::GemmShape<16, 8, 16>;
};

template <>
struct Arithmetic<DataType::kBFloat16, Math::kTensorCore> : Arithmetic<DataType::kFloat16, Math::kTensorCore> {
  using Element = cutlass::bfloat16_t;
};

// On float elements this instruction shape rounds the operands to tf32.
template <>
struct Arithmetic<DataType::kFloat32, Math::kTf32> {
  using Element = float;
  using Sum = float;
  using Class = cutlass::arch::OpClassTensorOp;
  using Arch = cutlass::arch::Sm80;
  using Instruction = cutlass::gemm::GemmShape<16, 8, 8>;
};

template <>
struct Arithmetic<DataType::kFloat32, Math::kSimt> {
  using Element = float;
  using Sum = float;
  using Class = cutlass::arch::OpClassSimt;
  using Arch = cutlass::arch::Sm50;
  using Instruction = cutlass::gemm::GemmShape<1, 1, 1>;
};

template <>
struct Arithmetic<DataType::kFloat64, Math::kDmma> {
  using Element = double;
  using Sum = double;
  using Class = cutlass::arch::OpClassTensorOp;
  using Arch = cutlass::arch::Sm80;
  using Instruction = cutlass::gemm::GemmShape<8, 8, 4>;
};

template <>
struct Arithmetic<DataType::kFloat64, Math::kSimt> : Arithmetic<DataType::kFloat32, Math::kSimt> {
  using Element = double;
  using Sum = double;
};

template <InstanceId id, typename Warp, int stages>
struct ImplicitGemm {
  static constexpr Instance kInstance = Get(id);
  using Types = Arithmetic<kInstance.dtype, kInstance.math>;
  using Layout = cutlass::layout::TensorNHWC;
  static constexpr int kStoreAlignment =
      kInstance.math == Math::kSimt ? 1
                                    : std::min(kInstance.alignment, 16 / static_cast<int>(sizeof(typename Types::Sum)));
  using Epilogue =
      cutlass::epilogue::thread::LinearCombination<typename Types::Sum, kStoreAlignment, typename Types::Sum,
                                                   typename Types::Sum, cutlass::epilogue::thread::ScaleType::Nothing>;
  using Kernel = typename cutlass::conv::kernel::DefaultConv2dWgrad<
      typename Types::Element, Layout, typename Types::Element, Layout, typename Types::Sum, Layout,
      typename Types::Sum, typename Types::Class, typename Types::Arch,
      cutlass::gemm::GemmShape<kInstance.tile_m, kInstance.tile_n, kInstance.tile_k>, Warp, typename Types::Instruction,
      Epilogue, cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<4>, stages, cutlass::arch::OpMultiplyAdd,
      cutlass::conv::IteratorAlgorithm::kOptimized, cutlass::conv::StrideSupport::kStrided, kInstance.alignment,
      kInstance.alignment>::Kernel;

  static typename Kernel::Arguments Arguments(const GemmView& v) {
    using Element = typename Types::Element;
    using Sum = typename Types::Sum;
    const cutlass::conv::Conv2dProblemSize size(
        v.batch, v.in_height, v.in_width, v.channels, v.out_channels, v.filter_height, v.filter_width, v.out_height,
        v.out_width, v.pad_top, v.pad_left, v.stride_height, v.stride_width, v.dilation_height, v.dilation_width,
        cutlass::conv::Mode::kCrossCorrelation, v.slice_count);
    const auto packed = [](int channels, int width, int height) {
      return Layout(channels, channels * width, channels * width * height);
    };
    const typename Kernel::TensorRefC slices(static_cast<Sum*>(v.slices),
                                             packed(v.channels, v.filter_width, v.filter_height));
    return {size,
            {static_cast<Element*>(const_cast<void*>(v.out_backprop)),
             packed(v.output_pixel_stride, v.out_width, v.out_height)},
            {static_cast<Element*>(const_cast<void*>(v.input)), packed(v.input_pixel_stride, v.in_width, v.in_height)},
            slices,
            slices,
            {},
            cutlass::conv::SplitKMode::kParallel};
  }

  static Status Launch(const GemmView& view, Stream stream) {
    const typename Kernel::Arguments arguments = Arguments(view);
    if (Kernel::Mma::IteratorA::can_implement(arguments.problem_size) != cutlass::Status::kSuccess ||
        Kernel::Mma::IteratorB::can_implement(arguments.problem_size) != cutlass::Status::kSuccess) {
      return Status(Code::kInternal, std::string(kInstance.name) + " cannot run the problem it was chosen for");
    }
    constexpr int kSharedBytes = sizeof(typename Kernel::SharedStorage);
    // A block gets at most 48 KiB unless it asks for more.
    if constexpr (kSharedBytes > 48 << 10) {
      const Status status = Check(
          cudaFuncSetAttribute(cutlass::Kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
          kInstance.name);
      if (!status.ok()) return status;
    }
    // Launched here because CUTLASS's own launcher would clear the slices first, and each is written whole.
    const typename Kernel::Params params(arguments);
    const dim3 grid = typename Kernel::ThreadblockSwizzle().get_grid_shape(params.grid_tiled_shape);
    cutlass::Kernel<Kernel><<<grid, Kernel::kThreadCount, kSharedBytes, static_cast<cudaStream_t>(stream)>>>(params);
    return Check(cudaGetLastError(), kInstance.name);
  }
};

}  // namespace wgrad::cuda

// Defines the launch of one instance; what follows its name is the warp's tile and the number of pipeline stages.
#define WGRAD_CUDA_DEFINE_INSTANCE(name, warp_m, warp_n, warp_k, stages)                                        \
  template <>                                                                                                   \
  wgrad::Status wgrad::cuda::LaunchImplicitGemm<wgrad::cuda::InstanceId::k##name>(const GemmView& view,         \
                                                                                  Stream stream) {              \
    return ImplicitGemm<InstanceId::k##name, cutlass::gemm::GemmShape<warp_m, warp_n, warp_k>, stages>::Launch( \
        view, stream);                                                                                          \
  }

#endif  // TF_OPS_WGRAD_CUDA_IMPLICIT_GEMM_H_
