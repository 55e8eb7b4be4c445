#include "tf_ops/wgrad/cuda/implicit_gemm.h"

WGRAD_CUDA_DEFINE_INSTANCE(F16Align2Tile64x64, 32, 32, 32, 4)
