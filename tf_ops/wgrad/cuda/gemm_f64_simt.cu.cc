#include "tf_ops/wgrad/cuda/implicit_gemm.h"

WGRAD_CUDA_DEFINE_INSTANCE(F64SimtTile64x64, 32, 32, 8, 2)
