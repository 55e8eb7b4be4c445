// Where tf32 panels lie in shared memory and in registers: every element has one place, and no two threads that take
// part in the same access meet in a bank.
#include <set>
#include <utility>
#include <vector>

#include "tests/engine/check.h"
#include "tf_ops/wgrad/cuda/wgmma_layout.h"

namespace wgrad::cuda::wgmma {
namespace {

constexpr int kSide = 32;  // rows of a panel, and float32 in one

// In words.
int PlaceOf(int row, int column) { return SwizzledOffset(row, column / 4) / 4 + column % 4; }

// Whether accesses of `words` each, of threads that take part together, touch each of the 32 banks once.
bool EveryBankOnce(const std::vector<int>& places, int words) {
  std::set<int> banks;
  for (const int place : places) {
    for (int i = 0; i < words; ++i) banks.insert((place + i) % 32);
  }
  return banks.size() == 32 && places.size() * words == 32;
}

void TestEveryElementHasItsPlace() {
  std::set<int> places;
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) places.insert(PlaceOf(row, column));
  }
  CHECK_EQ(places.size(), static_cast<size_t>(kSide * kSide));
  CHECK_EQ(*places.rbegin(), kSide * kSide - 1);
}

// Two panels have 64 rows, of which a thread has two neighbours; the four of a quad have the same.
void TestThreadsShareTheFilterRows() {
  std::set<std::pair<int, int>> rows;
  for (int thread = 0; thread < 128; ++thread) {
    CHECK_EQ(FirstOfRows(thread), FirstOfRows(thread / 4 * 4));
    CHECK_EQ(FirstOfRows(thread) / 4, ChunkOfRows(thread));
    for (int i = 0; i < 2; ++i) rows.insert({PanelOfRows(thread), FirstOfRows(thread) + i});
  }
  CHECK_EQ(rows.size(), 64u);
  CHECK_TRUE(*rows.begin() == std::make_pair(0, 0));
  CHECK_TRUE(*rows.rbegin() == std::make_pair(1, kSide - 1));
}

void TestFilterRowsAreLoadedWithoutConflict() {
  for (int index = 0; index < 2; ++index) {
    for (int first = 0; first < 128; first += 16) {
      std::vector<int> places;
      for (int thread = first; thread < first + 16; ++thread) {
        places.push_back(OffsetOfRows(thread, index) / 4);
        CHECK_EQ(places.back(), PlaceOf(thread % 4 + 4 * index, FirstOfRows(thread)));
      }
      CHECK_TRUE(EveryBankOnce(places, 2));
    }
  }
}

void TestBlocksTransposeAPanelWithoutConflict() {
  std::vector<int> before(kSide * kSide), after(kSide * kSide, -1);
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) before[PlaceOf(row, column)] = row * kSide + column;
  }
  for (int index = 0; index < 2; ++index) {
    for (int i = 0; i < 4; ++i) {
      std::vector<int> read, written;
      for (int lane = 0; lane < 32; ++lane) {
        const PanelBlock block = BlockOf(lane, index);
        read.push_back(OffsetOf(block, i) / 4);
        written.push_back(OffsetOf(Transposed(block), i) / 4);
        for (int j = 0; j < 4; ++j) after[written.back() + j] = before[OffsetOf(block, j) / 4 + i];
      }
      for (auto* places : {&read, &written}) {
        for (int first = 0; first < 32; first += 8) {
          CHECK_TRUE(EveryBankOnce({places->begin() + first, places->begin() + first + 8}, 4));
        }
      }
    }
  }
  for (int row = 0; row < kSide; ++row) {
    for (int column = 0; column < kSide; ++column) CHECK_EQ(after[PlaceOf(row, column)], column * kSide + row);
  }
}

}  // namespace
}  // namespace wgrad::cuda::wgmma

int main() {
  using namespace wgrad::cuda::wgmma;
  TestEveryElementHasItsPlace();
  TestThreadsShareTheFilterRows();
  TestFilterRowsAreLoadedWithoutConflict();
  TestBlocksTransposeAPanelWithoutConflict();
  return Failures();
}
