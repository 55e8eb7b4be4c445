#define WGRAD_ISA neon
#define WGRAD_VECTOR_BYTES 16
#define WGRAD_VECTOR_REGISTERS 32
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Neon() {
  static const Isa isa = neon::MakeIsa("neon");
  return isa;
}

}  // namespace wgrad
