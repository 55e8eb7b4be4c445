#include "tf_ops/wgrad/cuda/implicit_gemm.h"

WGRAD_CUDA_DEFINE_INSTANCE(Tf32Align4Tile128x128, 64, 64, 16, 4)
WGRAD_CUDA_DEFINE_INSTANCE(Tf32Align4Tile64x64, 32, 32, 32, 4)
