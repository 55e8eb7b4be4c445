#include "tf_ops/wgrad/cuda/implicit_gemm.h"

// cp.async moves at least 4 bytes, so single elements go through registers, in two stages.
WGRAD_CUDA_DEFINE_INSTANCE(BF16Align1Tile64x64, 32, 32, 32, 2)
