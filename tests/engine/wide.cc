#include "tests/engine/wide.h"

#define WGRAD_ISA wide
#define WGRAD_VECTOR_BYTES 64
#define WGRAD_VECTOR_REGISTERS 32
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad {

const Isa& Wide() {
  static const Isa isa = wide::MakeIsa("wide");
  return isa;
}

}  // namespace wgrad
