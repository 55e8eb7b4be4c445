#include "tf_ops/wgrad/cpu/isa.h"

namespace wgrad {

#if defined(__x86_64__)
const Isa& Avx2();
const Isa& Avx512();
#elif defined(__aarch64__)
const Isa& Neon();
#endif

std::vector<const Isa*> SupportedIsas() {
  std::vector<const Isa*> isas;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    isas.push_back(&Avx512());
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
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
