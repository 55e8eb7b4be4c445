#ifndef TF_OPS_WGRAD_CPU_ISA_H_
#define TF_OPS_WGRAD_CPU_ISA_H_

#include <vector>

#include "tf_ops/wgrad/cpu/kernels.h"

namespace wgrad {

// What was compiled in and this processor and its operating system support, the widest first.
std::vector<const Isa*> SupportedIsas();

const Isa& BestIsa();

// Vectors of 16 bytes; on every processor.
const Isa& Portable();

template <typename T>
const Kernels<T>& KernelsOf(const Isa& isa, [[maybe_unused]] bool bf16_pairs = false) {
  if constexpr (sizeof(T) == sizeof(float)) {
    return bf16_pairs ? isa.bf16_pairs : isa.f32;
  } else {
    return isa.f64;
  }
}

// All types but float64 are summed in float32.
inline int64_t SumSize(DataType dtype) { return dtype == DataType::kFloat64 ? sizeof(double) : sizeof(float); }

// Whether the sums are of dW's own type.
inline bool SumsInItsType(DataType dtype) { return ElementSize(dtype) == SumSize(dtype); }

// Whether this set multiplies and adds two values of the type at once.
inline bool HasPairs(DataType dtype, const Isa& isa) { return dtype == DataType::kBFloat16 && isa.has_bf16_pairs(); }

// Sums in one vector.
inline int64_t Lanes(DataType dtype, const Isa& isa) { return isa.vector_bytes / SumSize(dtype); }

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_ISA_H_
