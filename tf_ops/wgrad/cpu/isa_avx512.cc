#define WGRAD_ISA avx512
#define WGRAD_VECTOR_BYTES 64
#define WGRAD_VECTOR_REGISTERS 32
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Avx512() {
  static const Isa isa = avx512::MakeIsa("avx512");
  return isa;
}

}  // namespace wgrad
