#include "tf_ops/wgrad/cuda/implicit_gemm.h"

WGRAD_CUDA_DEFINE_INSTANCE(F32SimtTile128x128, 32, 64, 8, 2)
WGRAD_CUDA_DEFINE_INSTANCE(F32SimtTile64x64, 32, 32, 8, 2)
