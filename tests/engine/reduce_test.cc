// Every instruction set adds partial sums in their order, rounds as scalar.h does, to the last bit but for those of a
// NaN, and tells whether all of them were finite.
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/wide.h"
#include "tf_ops/wgrad/cpu/isa.h"
#include "tf_ops/wgrad/cpu/scalar.h"

namespace {

using namespace wgrad;

// One more than whole vectors.
constexpr int64_t kCount = 4 * 16 + 1;

template <typename T>
void CheckRounds(const Isa& isa, DataType dtype, const std::vector<float>& values) {
  std::vector<T> rounded(values.size());
  KernelsOf<float>(isa).reduce[static_cast<int>(dtype)](values.data(), 0, 1, values.size(), rounded.data());
  for (size_t i = 0; i < values.size(); ++i) {
    const T expected = FromAccumulator<T>(values[i]);
    if (std::isnan(values[i])) {
      CHECK_TRUE(std::isnan(ToFloat(rounded[i])));
    } else if (rounded[i].bits != expected.bits) {
      CHECK_EQ(isa.name + std::string(": ") + std::to_string(rounded[i].bits), std::to_string(expected.bits));
    }
  }
}

// Float32 of both signs, all exponents and the significands whose upper bits either type keeps, and of what lies just
// below, at and just above the middle between two of them.
void TestEveryPatternRounds(const Isa& isa) {
  std::vector<float> values;
  for (uint32_t upper = 0; upper < 1 << 16; ++upper) {
    values.clear();
    for (const uint32_t middle : {0x8000u, 0x1000u}) {
      for (uint32_t lower = middle - 16; lower <= middle + 16; ++lower) values.push_back(FloatOf(upper << 16 | lower));
    }
    values.push_back(FloatOf(upper << 16));
    CheckRounds<Half>(isa, DataType::kFloat16, values);
    CheckRounds<BFloat16>(isa, DataType::kBFloat16, values);
  }
}

// 1 + 2^-24 rounds to 1, so that the sum of the three is 0 in this order alone.
template <typename T, typename Result>
void TestAddsInOrder(const Isa& isa, DataType dtype) {
  constexpr int64_t kSlices = 3;
  const T small = sizeof(T) == sizeof(float) ? T(0x1p-24) : T(0x1p-53);
  std::vector<T> partial(kSlices * kCount);
  for (int64_t i = 0; i < kCount; ++i) {
    partial[i] = 1;
    partial[kCount + i] = small;
    partial[2 * kCount + i] = -1;
  }
  const auto reduce = [&](Result* sums) {
    return KernelsOf<T>(isa).reduce[static_cast<int>(dtype)](partial.data(), kCount, kSlices, kCount, sums);
  };
  std::vector<Result> sums(kCount, FromAccumulator<Result>(T(7)));
  CHECK_TRUE(reduce(sums.data()));
  for (const Result sum : sums) CHECK_EQ(ToAccumulator<T>(sum), T(0));

  // Finite ones whose rounding is not, and ones that are not: in a whole vector, and in the rest behind them.
  for (const int64_t at : {int64_t{0}, kCount - 1}) {
    partial[at] = std::numeric_limits<T>::max();
    CHECK_TRUE(reduce(sums.data()));
    for (const T value : {std::numeric_limits<T>::infinity(), std::numeric_limits<T>::quiet_NaN()}) {
      partial[kCount + at] = value;
      CHECK_TRUE(!reduce(sums.data()));
    }
    partial[at] = 1;
    partial[kCount + at] = small;
  }
}

}  // namespace

int main() {
  std::vector<const Isa*> isas = SupportedIsas();
  isas.push_back(&Wide());
  for (const Isa* isa : isas) {
    TestEveryPatternRounds(*isa);
    TestAddsInOrder<float, Half>(*isa, DataType::kFloat16);
    TestAddsInOrder<float, BFloat16>(*isa, DataType::kBFloat16);
    TestAddsInOrder<float, float>(*isa, DataType::kFloat32);
    TestAddsInOrder<double, double>(*isa, DataType::kFloat64);
  }
  return Failures();
}
