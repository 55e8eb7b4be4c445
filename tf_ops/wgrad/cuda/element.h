// The element types on host and device, and the accumulator each is summed in.
#ifndef TF_OPS_WGRAD_CUDA_ELEMENT_H_
#define TF_OPS_WGRAD_CUDA_ELEMENT_H_

#include <cmath>
#include <type_traits>

#include "tf_ops/wgrad/cpu/scalar.h"
#include "tf_ops/wgrad/cuda/host_device.h"
#include "tf_ops/wgrad/problem.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace wgrad::cuda {

template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

// By the raw structs: CUDA 12.0 has the functions that reinterpret 16 bits for some devices only.
template <typename T>
WGRAD_HOST_DEVICE Accumulator<T> Widen(T value) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, Half>) {
    __half_raw raw;
    raw.x = value.bits;
    return __half2float(raw);
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return __uint_as_float(static_cast<unsigned>(value.bits) << 16);
  } else {
    return value;
  }
#else
  return ToAccumulator<Accumulator<T> >(value);
#endif
}

template <typename T>
WGRAD_HOST_DEVICE T Round(Accumulator<T> value) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, Half>) {
    return {static_cast<__half_raw>(__float2half_rn(value)).x};
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return {static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(value)).x};
  } else {
    return value;
  }
#else
  return FromAccumulator<T>(value);
#endif
}

template <typename T>
WGRAD_HOST_DEVICE bool IsFinite(T value) {
  const Accumulator<T> wide = Widen(value);
  return wide - wide == 0;
}

// Whether zeros put in for the padding, or operands rounded to tf32, may have made `value`: zero times Inf is NaN, and
// tf32, for float32 alone, makes Inf of its largest numbers. Inf in half is none of this: a finite sum overflowed when
// it was rounded, as happens all the time under loss scaling, or the definition has it.
template <typename T>
WGRAD_DEVICE bool IsSuspect(T value) {
  const Accumulator<T> wide = Widen(value);
  return std::is_same_v<T, float> ? !IsFinite(value) : wide != wide;
}

// Calls visit(T()) with the type that stores `dtype`.
template <typename Visitor>
auto VisitElement(DataType dtype, Visitor&& visit) {
  switch (dtype) {
    case DataType::kFloat16:
      return visit(Half());
    case DataType::kBFloat16:
      return visit(BFloat16());
    case DataType::kFloat32:
      return visit(float());
    case DataType::kFloat64:
      break;
  }
  return visit(double());
}

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_ELEMENT_H_
