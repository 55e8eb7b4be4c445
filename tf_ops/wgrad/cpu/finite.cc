#include "tf_ops/wgrad/cpu/finite.h"

#include <algorithm>
#include <atomic>

#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {
namespace {

// A number is infinite or NaN when all bits of its exponent are set. No early exit, so that the loop is vectorised.
template <typename Bits>
bool AnyExponentFull(const void* elements, int64_t first, int64_t end, Bits exponent) {
  const Bits* bits = static_cast<const Bits*>(elements);
  int any = 0;
  for (int64_t i = first; i < end; ++i) any |= (bits[i] & exponent) == exponent;
  return any != 0;
}

bool AnyNonFinite(DataType dtype, const void* elements, int64_t first, int64_t end) {
  switch (dtype) {
    case DataType::kFloat16:
      return AnyExponentFull<uint16_t>(elements, first, end, 0x7c00);
    case DataType::kBFloat16:
      return AnyExponentFull<uint16_t>(elements, first, end, 0x7f80);
    case DataType::kFloat32:
      return AnyExponentFull<uint32_t>(elements, first, end, 0x7f800000);
    case DataType::kFloat64:
      break;
  }
  return AnyExponentFull<uint64_t>(elements, first, end, uint64_t{0x7ff} << 52);
}

}  // namespace

bool AllFinite(DataType dtype, const void* elements, int64_t count, Executor* executor) {
  constexpr int64_t kElementsPerTask = 1 << 18;
  std::atomic<bool> finite{true};
  executor->Run(CeilDiv(count, kElementsPerTask), [&](int64_t task, int) {
    const int64_t first = task * kElementsPerTask;
    if (AnyNonFinite(dtype, elements, first, std::min(count, first + kElementsPerTask))) finite = false;
  });
  return finite;
}

}  // namespace wgrad
