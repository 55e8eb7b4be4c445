#include "tf_ops/wgrad/cpu/caches.h"

#include <unistd.h>

#include <algorithm>

namespace wgrad {
namespace {

int64_t Bytes(int name) { return std::max<int64_t>(0, sysconf(name)); }

}  // namespace

const Caches& ThisCaches() {
  static const Caches caches = {Bytes(_SC_LEVEL1_DCACHE_SIZE), Bytes(_SC_LEVEL2_CACHE_SIZE),
                                Bytes(_SC_LEVEL3_CACHE_SIZE)};
  return caches;
}

int64_t SecondLevelBytes() {
  constexpr int64_t kUsual = 512 << 10;
  return ThisCaches().l2 > 0 ? ThisCaches().l2 : kUsual;
}

int64_t MostBlockBytes() { return SecondLevelBytes() / 8 * 3; }

}  // namespace wgrad
