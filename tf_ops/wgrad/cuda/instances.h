// The compiled implicit-GEMM kernels: what the planner may choose from, and what each needs.
#ifndef TF_OPS_WGRAD_CUDA_INSTANCES_H_
#define TF_OPS_WGRAD_CUDA_INSTANCES_H_

#include <cstdint>

#include "tf_ops/wgrad/problem.h"

namespace wgrad::cuda {

enum class Math : int32_t {
  kWgmma,       // half and bfloat16 products, float32 sums, by Hopper's asynchronous tensor cores
  kWgmmaTf32,   // float32 operands rounded to 10 bits of fraction, float32 sums, by the same
  kTensorCore,  // half and bfloat16 products, float32 sums, by the older instructions
  kTf32,        // float32 operands rounded to 10 bits of fraction, float32 sums
  kDmma,        // float64 on tensor cores, IEEE arithmetic
  kSimt,        // float32 or float64 on the ordinary cores, IEEE arithmetic
};

struct Instance {
  const char* name;
  DataType dtype;
  Math math;
  int alignment;               // elements; group channels, strides and pointers are multiples of it
  int tile_m, tile_n, tile_k;  // of the GEMM: M = out channels, N = filter taps x channels, K = output pixels
  int min_compute_capability;  // 10 * major + minor
};

// CUTLASS's implicit GEMM.
#define WGRAD_CUDA_GEMM_INSTANCES(X)                                    \
  X(F16Align8Tile256x128, kFloat16, kTensorCore, 8, 256, 128, 32, 80)   \
  X(F16Align8Tile128x128, kFloat16, kTensorCore, 8, 128, 128, 32, 80)   \
  X(F16Align8Tile64x64, kFloat16, kTensorCore, 8, 64, 64, 64, 80)       \
  X(F16Align4Tile64x64, kFloat16, kTensorCore, 4, 64, 64, 32, 80)       \
  X(F16Align2Tile64x64, kFloat16, kTensorCore, 2, 64, 64, 32, 80)       \
  X(F16Align1Tile64x64, kFloat16, kTensorCore, 1, 64, 64, 32, 80)       \
  X(BF16Align8Tile256x128, kBFloat16, kTensorCore, 8, 256, 128, 32, 80) \
  X(BF16Align8Tile128x128, kBFloat16, kTensorCore, 8, 128, 128, 32, 80) \
  X(BF16Align8Tile64x64, kBFloat16, kTensorCore, 8, 64, 64, 64, 80)     \
  X(BF16Align4Tile64x64, kBFloat16, kTensorCore, 4, 64, 64, 32, 80)     \
  X(BF16Align2Tile64x64, kBFloat16, kTensorCore, 2, 64, 64, 32, 80)     \
  X(BF16Align1Tile64x64, kBFloat16, kTensorCore, 1, 64, 64, 32, 80)     \
  X(Tf32Align4Tile256x128, kFloat32, kTf32, 4, 256, 128, 16, 80)        \
  X(Tf32Align4Tile128x128, kFloat32, kTf32, 4, 128, 128, 16, 80)        \
  X(Tf32Align4Tile64x64, kFloat32, kTf32, 4, 64, 64, 32, 80)            \
  X(Tf32Align2Tile64x64, kFloat32, kTf32, 2, 64, 64, 32, 80)            \
  X(Tf32Align1Tile64x64, kFloat32, kTf32, 1, 64, 64, 32, 80)            \
  X(F32AsyncTile256x128, kFloat32, kSimt, 1, 256, 128, 8, 80)           \
  X(F32AsyncTile128x128, kFloat32, kSimt, 1, 128, 128, 8, 80)           \
  X(F32AsyncTile64x64, kFloat32, kSimt, 1, 64, 64, 8, 80)               \
  X(F32SimtTile128x128, kFloat32, kSimt, 1, 128, 128, 8, 50)            \
  X(F32SimtTile64x64, kFloat32, kSimt, 1, 64, 64, 8, 50)                \
  X(F64DmmaTile64x64, kFloat64, kDmma, 1, 64, 64, 16, 80)               \
  X(F64SimtTile64x64, kFloat64, kSimt, 1, 64, 64, 8, 50)

// The kernel of wgmma.cu.cc.
#define WGRAD_CUDA_WGMMA_INSTANCES(X)                                \
  X(F16WgmmaTile256x128, kFloat16, kWgmma, 8, 256, 128, 64, 90)      \
  X(F16WgmmaTile128x256, kFloat16, kWgmma, 8, 128, 256, 64, 90)      \
  X(F16WgmmaTile128x192, kFloat16, kWgmma, 8, 128, 192, 64, 90)      \
  X(F16WgmmaTile128x128, kFloat16, kWgmma, 8, 128, 128, 64, 90)      \
  X(F16WgmmaTile64x128, kFloat16, kWgmma, 8, 64, 128, 64, 90)        \
  X(F16WgmmaTile64x64, kFloat16, kWgmma, 8, 64, 64, 64, 90)          \
  X(BF16WgmmaTile256x128, kBFloat16, kWgmma, 8, 256, 128, 64, 90)    \
  X(BF16WgmmaTile128x256, kBFloat16, kWgmma, 8, 128, 256, 64, 90)    \
  X(BF16WgmmaTile128x192, kBFloat16, kWgmma, 8, 128, 192, 64, 90)    \
  X(BF16WgmmaTile128x128, kBFloat16, kWgmma, 8, 128, 128, 64, 90)    \
  X(BF16WgmmaTile64x128, kBFloat16, kWgmma, 8, 64, 128, 64, 90)      \
  X(BF16WgmmaTile64x64, kBFloat16, kWgmma, 8, 64, 64, 64, 90)        \
  X(Tf32WgmmaTile128x256, kFloat32, kWgmmaTf32, 4, 128, 256, 32, 90) \
  X(Tf32WgmmaTile128x192, kFloat32, kWgmmaTf32, 4, 128, 192, 32, 90) \
  X(Tf32WgmmaTile128x128, kFloat32, kWgmmaTf32, 4, 128, 128, 32, 90) \
  X(Tf32WgmmaTile64x192, kFloat32, kWgmmaTf32, 4, 64, 192, 32, 90)   \
  X(Tf32WgmmaTile64x128, kFloat32, kWgmmaTf32, 4, 64, 128, 32, 90)   \
  X(Tf32WgmmaTile64x64, kFloat32, kWgmmaTf32, 4, 64, 64, 32, 90)

#define WGRAD_CUDA_INSTANCES(X) \
  WGRAD_CUDA_WGMMA_INSTANCES(X) \
  WGRAD_CUDA_GEMM_INSTANCES(X)

inline constexpr Instance kInstances[] = {
#define WGRAD_ROW(name, dtype, math, alignment, m, n, k, capability) \
  {#name, DataType::dtype, Math::math, alignment, m, n, k, capability},
    WGRAD_CUDA_INSTANCES(WGRAD_ROW)
#undef WGRAD_ROW
};

enum class InstanceId : int32_t {
#define WGRAD_ID(name, ...) k##name,
  WGRAD_CUDA_INSTANCES(WGRAD_ID)
#undef WGRAD_ID
};

inline constexpr bool IsWgmma(const Instance& instance) {
  return instance.math == Math::kWgmma || instance.math == Math::kWgmmaTf32;
}

inline constexpr bool RoundsToTf32(const Instance& instance) {
  return instance.math == Math::kWgmmaTf32 || instance.math == Math::kTf32;
}

inline constexpr const Instance& Get(InstanceId id) { return kInstances[static_cast<int>(id)]; }

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_INSTANCES_H_
