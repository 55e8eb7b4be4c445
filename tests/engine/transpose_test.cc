// Every instruction set transposes a matrix to rows of whole cache lines and to others, past the caches or not, and
// writes nothing else.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/wide.h"
#include "tf_ops/wgrad/cpu/isa.h"
#include "tf_ops/wgrad/cpu/streaming.h"

namespace {

using namespace wgrad;

// Squares and half lines of every instruction set, and what is left beside them.
constexpr int64_t kSizes[] = {1, 7, 16, 24, 33, 64};

template <typename T>
void TestTranspose(TransposeMatrix transpose) {
  constexpr int64_t kMost = 64, kOthers = 5;
  std::vector<T> from(kMost * kMost);
  std::iota(from.begin(), from.end(), T(1));
  alignas(kCacheLine) static T to[(kMost + 1) * (kMost + kOthers)];
  for (const int64_t rows : kSizes) {
    for (const int64_t columns : kSizes) {
      for (const int64_t others : {int64_t{0}, kOthers}) {  // between two rows
        for (const int64_t first : {0, 1}) {
          for (const bool streaming : {false, true}) {
            std::fill(std::begin(to), std::end(to), T(0));
            transpose(from.data(), kMost, rows, columns, streaming, to + first, rows + others);
            FenceStreams();
            int64_t wrong = 0, written = 0;
            for (int64_t row = 0; row < rows; ++row) {
              for (int64_t column = 0; column < columns; ++column) {
                wrong += to[first + column * (rows + others) + row] != from[row * kMost + column];
              }
            }
            for (const T element : to) written += element != 0;
            CHECK_EQ(wrong, 0);
            CHECK_EQ(written, rows * columns);
          }
        }
      }
    }
  }
}

void TestIsa(const Isa& isa) {
  TestTranspose<uint16_t>(isa.transpose16);
  TestTranspose<uint32_t>(isa.transpose32);
  TestTranspose<uint64_t>(isa.transpose64);
}

}  // namespace

int main() {
  for (const Isa* isa : SupportedIsas()) TestIsa(*isa);
  TestIsa(Wide());
  return Failures();
}
