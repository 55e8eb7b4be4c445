// Every half and bfloat16 survives the way to float32 and back, and float32 rounds to the nearest, ties to even.
#include "tf_ops/wgrad/cpu/scalar.h"

#include <cmath>
#include <cstdint>

#include "tests/engine/check.h"

namespace {

using wgrad::BFloat16;
using wgrad::FloatOf;
using wgrad::Half;
using wgrad::ToBFloat16;
using wgrad::ToFloat;
using wgrad::ToHalf;

Half Round(float value, Half) { return ToHalf(value); }
BFloat16 Round(float value, BFloat16) { return ToBFloat16(value); }

// `largest` is the bit pattern of the largest finite value; adjacent patterns are adjacent values up to there.
template <typename T>
void TestRounding(uint16_t largest) {
  for (uint32_t bits = 0; bits < largest; ++bits) {
    const T lower{static_cast<uint16_t>(bits)};
    const T upper{static_cast<uint16_t>(bits + 1)};
    const T even = bits % 2 == 0 ? lower : upper;
    // Exact: float32 has at least 13 bits more than either type.
    const float middle = 0.5f * ToFloat(lower) + 0.5f * ToFloat(upper);
    CHECK_EQ(Round(ToFloat(lower), T{}).bits, lower.bits);
    CHECK_EQ(Round(-ToFloat(lower), T{}).bits, lower.bits | 0x8000);
    CHECK_EQ(Round(middle, T{}).bits, even.bits);
    CHECK_EQ(Round(std::nextafter(middle, 0.0f), T{}).bits, lower.bits);
    CHECK_EQ(Round(std::nextafter(middle, INFINITY), T{}).bits, upper.bits);
  }
}

void TestNonFinite() {
  CHECK_EQ(ToHalf(65519.0f).bits, 0x7bff);
  CHECK_EQ(ToHalf(65520.0f).bits, 0x7c00);
  CHECK_EQ(ToHalf(INFINITY).bits, 0x7c00);
  CHECK_EQ(ToHalf(-INFINITY).bits, 0xfc00);
  CHECK_EQ(ToBFloat16(FloatOf(0x7f7fffff)).bits, 0x7f80);
  CHECK_EQ(ToBFloat16(-INFINITY).bits, 0xff80);
  CHECK_EQ(ToFloat(Half{0x7c00}), INFINITY);
  // A NaN whose set bits are all cut off must not become an infinity.
  for (uint32_t nan : {0x7f800001u, 0x7fc00000u, 0xff800001u}) {
    CHECK_TRUE(std::isnan(ToFloat(ToHalf(FloatOf(nan)))));
    CHECK_TRUE(std::isnan(ToFloat(ToBFloat16(FloatOf(nan)))));
  }
}

}  // namespace

int main() {
  TestRounding<Half>(0x7bff);
  TestRounding<BFloat16>(0x7f7f);
  TestNonFinite();
  return Failures();
}
