#ifndef TESTS_ENGINE_WIDE_H_
#define TESTS_ENGINE_WIDE_H_

#include "tf_ops/wgrad/cpu/kernels.h"

namespace wgrad {

// The kernels with the vectors and registers of AVX-512, compiled for the baseline: its blocking runs on any processor.
const Isa& Wide();

}  // namespace wgrad

#endif  // TESTS_ENGINE_WIDE_H_
