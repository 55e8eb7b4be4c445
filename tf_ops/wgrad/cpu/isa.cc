#include "tf_ops/wgrad/cpu/isa.h"

namespace wgrad {

#if defined(__x86_64__)
const Isa& Avx2();
const Isa& Avx512();
void AddAvx512Bf16Pairs(Isa* isa);

const Isa& Avx512AndAvx2() {
  static const Isa isa = [] {
    Isa isa = Avx512();
    isa.half_as_wide = &Avx2();
    return isa;
  }();
  return isa;
}

const Isa& Avx512Bf16() {
  static const Isa isa = [] {
    Isa isa = Avx512AndAvx2();
    isa.name = "avx512_bf16";
    AddAvx512Bf16Pairs(&isa);
    return isa;
  }();
  return isa;
}
#elif defined(__aarch64__)
const Isa& Neon();
#endif

std::vector<const Isa*> SupportedIsas() {
  std::vector<const Isa*> isas;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      if (__builtin_cpu_supports("avx512bf16")) isas.push_back(&Avx512Bf16());
      isas.push_back(&Avx512AndAvx2());
    }
    isas.push_back(&Avx2());
  }
#elif defined(__aarch64__)
  isas.push_back(&Neon());
#endif
  isas.push_back(&Portable());
  return isas;
}

const Isa& BestIsa() {
  static const Isa& best = *SupportedIsas().front();
  return best;
}

}  // namespace wgrad
