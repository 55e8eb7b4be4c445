// Decisions from the bytes of a fuzzer's input, one after the other; zeros follow its end.
#ifndef TESTS_FUZZ_BYTES_H_
#define TESTS_FUZZ_BYTES_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}

  uint8_t Next() { return at_ == end_ ? 0 : *at_++; }

  // In [low, high], which are less than 256 apart.
  int64_t Between(int64_t low, int64_t high) { return low + Next() % (high - low + 1); }

  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Next() % values.size()];
  }

  // Small numbers, and those around each power of two.
  int64_t Any() {
    constexpr int kSmall = 224;
    const int byte = Next();
    if (byte < kSmall) return byte;
    if (byte == 255) return -Next() - 1;
    const int exponent = 2 * (byte - kSmall) + Next() % 4;
    return static_cast<int64_t>((uint64_t{1} << exponent) + Next() % 3 - 1);
  }

 private:
  const uint8_t* at_;
  const uint8_t* const end_;
};

#endif  // TESTS_FUZZ_BYTES_H_
