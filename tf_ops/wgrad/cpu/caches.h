// Sizes of this processor's caches.
#ifndef TF_OPS_WGRAD_CPU_CACHES_H_
#define TF_OPS_WGRAD_CPU_CACHES_H_

#include <cstdint>

namespace wgrad {

// In bytes, or 0 where the system does not say.
struct Caches {
  int64_t l1d, l2, l3;
};

const Caches& ThisCaches();

// Of the second level, per core; 512 KiB where the system does not say.
int64_t SecondLevelBytes();

// Of pixels that are multiplied while as many are asked for: both take three quarters of the second level.
int64_t MostBlockBytes();

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_CACHES_H_
