// The two 16-bit types as bit patterns, and the conversions between each element type and its accumulator.
#ifndef TF_OPS_WGRAD_CPU_SCALAR_H_
#define TF_OPS_WGRAD_CPU_SCALAR_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace wgrad {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

inline uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float ToFloat(BFloat16 value) { return FloatOf(static_cast<uint32_t>(value.bits) << 16); }

inline float ToFloat(Half value) {
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000) << 16;
  const uint32_t magnitude = value.bits & 0x7fff;
  if (magnitude >= 0x7c00) return FloatOf(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
  // A subnormal half is magnitude * 2^-24, which float32 represents exactly.
  if (magnitude < 0x400) return FloatOf(sign | BitsOf(static_cast<float>(magnitude) * 0x1p-24f));
  return FloatOf(sign | ((magnitude << 13) + (112u << 23)));
}

inline BFloat16 ToBFloat16(float value) {
  const uint32_t bits = BitsOf(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline Half ToHalf(float value) {
  const uint32_t bits = BitsOf(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return {static_cast<uint16_t>(sign | 0x7e00)};
  if (magnitude >= 0x477ff000) return {static_cast<uint16_t>(sign | 0x7c00)};  // 65520 and above round to infinity
  if (magnitude < 0x38800000) {
    // Adding 0.5 puts the unit of the subnormal halves, 2^-24, in the last bit of the float32 significand, so that the
    // addition itself rounds to nearest even.
    return {static_cast<uint16_t>(sign | (BitsOf(FloatOf(magnitude) + 0.5f) - BitsOf(0.5f)))};
  }
  return {static_cast<uint16_t>(sign | ((magnitude - (112u << 23) + 0xfff + (magnitude >> 13 & 1)) >> 13))};
}

template <typename Accumulator, typename T>
Accumulator ToAccumulator(T value) {
  if constexpr (sizeof(T) == 2) {
    return ToFloat(value);
  } else {
    return value;
  }
}

template <typename T, typename Accumulator>
T FromAccumulator(Accumulator value) {
  if constexpr (sizeof(T) == 8 || sizeof(T) == 4) {
    return value;
  } else if constexpr (std::is_same_v<T, Half>) {
    return ToHalf(value);
  } else {
    return ToBFloat16(value);
  }
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_SCALAR_H_
