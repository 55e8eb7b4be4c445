#define WGRAD_ISA avx512
#define WGRAD_VECTOR_BYTES 64
#define WGRAD_VECTOR_REGISTERS 32
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Avx512() {
  static const Isa isa = {"avx512", avx512::kVectorBytes, avx512::MakeKernels<float>(), avx512::MakeKernels<double>()};
  return isa;
}

}  // namespace wgrad
