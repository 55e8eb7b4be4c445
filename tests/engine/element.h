// Elements of untyped tensors as float64.
#ifndef TESTS_ENGINE_ELEMENT_H_
#define TESTS_ENGINE_ELEMENT_H_

#include "tf_ops/wgrad/cpu/scalar.h"
#include "tf_ops/wgrad/problem.h"

inline double Element(wgrad::DataType dtype, const char* bytes, int64_t i) {
  switch (dtype) {
    case wgrad::DataType::kFloat16:
      return wgrad::ToFloat(reinterpret_cast<const wgrad::Half*>(bytes)[i]);
    case wgrad::DataType::kBFloat16:
      return wgrad::ToFloat(reinterpret_cast<const wgrad::BFloat16*>(bytes)[i]);
    case wgrad::DataType::kFloat32:
      return reinterpret_cast<const float*>(bytes)[i];
    case wgrad::DataType::kFloat64:
      break;
  }
  return reinterpret_cast<const double*>(bytes)[i];
}

// Rounds `value` to the type.
inline void SetElement(wgrad::DataType dtype, double value, int64_t i, char* bytes) {
  switch (dtype) {
    case wgrad::DataType::kFloat16:
      reinterpret_cast<wgrad::Half*>(bytes)[i] = wgrad::ToHalf(static_cast<float>(value));
      break;
    case wgrad::DataType::kBFloat16:
      reinterpret_cast<wgrad::BFloat16*>(bytes)[i] = wgrad::ToBFloat16(static_cast<float>(value));
      break;
    case wgrad::DataType::kFloat32:
      reinterpret_cast<float*>(bytes)[i] = static_cast<float>(value);
      break;
    case wgrad::DataType::kFloat64:
      reinterpret_cast<double*>(bytes)[i] = value;
  }
}

#endif  // TESTS_ENGINE_ELEMENT_H_
