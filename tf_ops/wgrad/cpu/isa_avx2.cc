#define WGRAD_ISA avx2
#define WGRAD_VECTOR_BYTES 32
#define WGRAD_VECTOR_REGISTERS 16
#include "tf_ops/wgrad/cpu/kernels.inc"
#include "tf_ops/wgrad/cpu/microkernel_avx2.h"

namespace wgrad {

const Isa& Avx2() {
  static const Isa isa = [] {
    Isa isa = avx2::MakeIsa("avx2");
    avx2::FillMicro4x3(&isa.f32);
    avx2::FillMicro4x3(&isa.f64);
    return isa;
  }();
  return isa;
}

}  // namespace wgrad
