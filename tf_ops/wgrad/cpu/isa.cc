#include "tf_ops/wgrad/cpu/isa.h"

namespace wgrad {

const Isa& Portable();
#if defined(__x86_64__)
const Isa& Avx2();
const Isa& Avx512();
#endif

const Isa& BestIsa() {
#if defined(__x86_64__)
  static const Isa& best = [&]() -> const Isa& {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      return Avx512();
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
      return Avx2();
    }
    return Portable();
  }();
  return best;
#else
  return Portable();
#endif
}

}  // namespace wgrad
