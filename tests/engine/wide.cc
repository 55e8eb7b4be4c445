#include "tests/engine/wide.h"

#define WGRAD_ISA wide
#define WGRAD_VECTOR_BYTES 64
#define WGRAD_VECTOR_REGISTERS 32
#include "tf_ops/wgrad/cpu/kernels.inc"

namespace wgrad::WGRAD_ISA {
namespace {

// What the instruction computes, from its parts.
struct DotPairs {
  static Vector<float> Apply(Vector<float> sum, Vector<float> a, Vector<float> b) {
    return sum + High(a) * High(b) + Low(a) * Low(b);
  }
  static Vector<float> ApplyBroadcast(Vector<float> sum, const float* a, Vector<float> b) {
    return Apply(sum, Broadcast(*a), b);
  }
  static Vector<float> High(Vector<float> pairs) {
    return reinterpret_cast<Vector<float>>(reinterpret_cast<Vector<uint32_t>>(pairs) & 0xffff0000u);
  }
  static Vector<float> Low(Vector<float> pairs) {
    return reinterpret_cast<Vector<float>>(reinterpret_cast<Vector<uint32_t>>(pairs) << 16);
  }
};

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#include "tf_ops/wgrad/cpu/bf16_pairs.h"

namespace wgrad {

const Isa& Wide() {
  static const Isa isa = [] {
    Isa isa = wide::MakeIsa("wide");
    isa.bf16_pairs = wide::WithBf16Pairs(isa.f32);
    return isa;
  }();
  return isa;
}

}  // namespace wgrad
