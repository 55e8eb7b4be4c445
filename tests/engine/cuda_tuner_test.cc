// The tuner: every candidate gets its turns, late times count, the fastest stays.
#include "tests/engine/check.h"
#include "tf_ops/wgrad/cuda/tuner.h"

namespace wgrad::cuda {
namespace {

void TestEveryCandidateIsMeasuredThenTheFastestRuns() {
  const float milliseconds[] = {3, 1, 2};
  Tuner tuner(3);
  int turns[3] = {};
  for (int i = 0; i < 3 * Tuner::kSamples; ++i) {
    const Tuner::Turn turn = tuner.Next();
    CHECK_TRUE(turn.measure);
    ++turns[turn.candidate];
    tuner.Record(turn.candidate, milliseconds[turn.candidate]);
  }
  for (const int each : turns) CHECK_EQ(each, Tuner::kSamples);
  for (int i = Tuner::kSamples; i < Tuner::kSamplesOfTheClose; ++i) {
    CHECK_EQ(tuner.Next().candidate, 1u);
    tuner.Record(1, 1);
  }
  for (int i = 0; i < 3; ++i) {
    CHECK_EQ(tuner.Next().candidate, 1u);
    CHECK_TRUE(!tuner.Next().measure);
  }
}

void TestCloseCandidatesGetMoreTurns() {
  Tuner tuner(3);
  const float milliseconds[] = {1.05f, 2, 1};
  int turns[3] = {};
  for (int i = 0; i < 100; ++i) {
    const Tuner::Turn turn = tuner.Next();
    if (!turn.measure) break;
    ++turns[turn.candidate];
    tuner.Record(turn.candidate, milliseconds[turn.candidate]);
  }
  CHECK_EQ(turns[0], Tuner::kSamplesOfTheClose);
  CHECK_EQ(turns[1], Tuner::kSamples);
  CHECK_EQ(turns[2], Tuner::kSamplesOfTheClose);
}

void TestTheFirstRunsUntilATimeIsIn() {
  Tuner tuner(2);
  for (int i = 0; i < 2 * Tuner::kSamples; ++i) tuner.Next();
  CHECK_EQ(tuner.Next().candidate, 0u);
  tuner.Record(0, 5);
  CHECK_EQ(tuner.Next().candidate, 0u);
  tuner.Record(1, 4);
  CHECK_EQ(tuner.Next().candidate, 1u);
}

void TestTheLeastTimeCounts() {
  Tuner tuner(2);
  tuner.Record(0, 9);  // with the loading of the kernel
  tuner.Record(0, 1);
  tuner.Record(1, 2);
  CHECK_EQ(tuner.Best(), 0u);
}

void TestAFailedCandidateIsLeftAlone() {
  Tuner tuner(2);
  CHECK_EQ(tuner.Next().candidate, 0u);
  CHECK_EQ(tuner.Next().candidate, 1u);
  tuner.Fail(1);
  for (int i = 0; i < 10; ++i) CHECK_EQ(tuner.Next().candidate, 0u);
}

void TestTheNextBestTakesOverFromTheFirst() {
  Tuner tuner(3);
  tuner.Record(0, 1);
  tuner.Record(1, 3);
  tuner.Record(2, 2);
  tuner.Fail(0);
  CHECK_EQ(tuner.Best(), 2u);
  tuner.Fail(2);
  CHECK_EQ(tuner.Best(), 1u);
  tuner.Fail(1);
  CHECK_EQ(tuner.Best(), 0u);
}

}  // namespace
}  // namespace wgrad::cuda

int main() {
  wgrad::cuda::TestEveryCandidateIsMeasuredThenTheFastestRuns();
  wgrad::cuda::TestCloseCandidatesGetMoreTurns();
  wgrad::cuda::TestTheFirstRunsUntilATimeIsIn();
  wgrad::cuda::TestTheLeastTimeCounts();
  wgrad::cuda::TestAFailedCandidateIsLeftAlone();
  wgrad::cuda::TestTheNextBestTakesOverFromTheFirst();
  return Failures();
}
