// What tf32 takes beyond half in the wgmma kernel: filter rows in registers, and pixels side by side in shared memory.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_TF32_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_TF32_H_

#include "tf_ops/wgrad/cuda/wgmma_layout.h"

namespace wgrad::cuda::wgmma {

// A thread's part of the filter rows of one instruction, which multiplies eight pixels.
struct Fragment {
  float2 near, far;  // two channels of a pixel, and of the one four further on

  // `panel` begins with the first of the pixels.
  __device__ static Fragment At(const char* panel, int thread) {
    return {*reinterpret_cast<const float2*>(panel + OffsetOfRows(thread, 0)),
            *reinterpret_cast<const float2*>(panel + OffsetOfRows(thread, 1))};
  }
};

// In its place, by one warp.
__device__ inline void TransposePanel(char* panel, int lane) {
  float4 blocks[2][4];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const PanelBlock block = BlockOf(lane, i);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      blocks[i][j] = *reinterpret_cast<const float4*>(panel + OffsetOf(block, j));
    }
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const PanelBlock target = Transposed(BlockOf(lane, i));
    const float4(&b)[4] = blocks[i];
    const float4 transposed[4] = {{b[0].x, b[1].x, b[2].x, b[3].x},
                                  {b[0].y, b[1].y, b[2].y, b[3].y},
                                  {b[0].z, b[1].z, b[2].z, b[3].z},
                                  {b[0].w, b[1].w, b[2].w, b[3].w}};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      *reinterpret_cast<float4*>(panel + OffsetOf(target, j)) = transposed[j];
    }
  }
}

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_TF32_H_
