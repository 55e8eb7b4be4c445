#include "tf_ops/wgrad/cuda/implicit_gemm.h"

WGRAD_CUDA_DEFINE_INSTANCE(Tf32Align2Tile64x64, 32, 32, 32, 4)
