#define WGRAD_ISA avx2
#define WGRAD_VECTOR_BYTES 32
#define WGRAD_VECTOR_REGISTERS 16
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Avx2() {
  static const Isa isa = avx2::MakeIsa("avx2");
  return isa;
}

}  // namespace wgrad
