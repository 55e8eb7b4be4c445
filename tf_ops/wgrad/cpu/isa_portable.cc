#define WGRAD_ISA portable
#define WGRAD_VECTOR_BYTES 16
#define WGRAD_VECTOR_REGISTERS 16
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Portable() {
  static const Isa isa = portable::MakeIsa("portable");
  return isa;
}

}  // namespace wgrad
