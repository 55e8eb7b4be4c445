// Which of several candidates is the fastest, found out from ordinary calls: each call runs one candidate, its time
// comes in whenever the device is done, and nobody waits for it.
#ifndef TF_OPS_WGRAD_CUDA_TUNER_H_
#define TF_OPS_WGRAD_CUDA_TUNER_H_

#include <cstddef>
#include <limits>
#include <vector>

namespace wgrad::cuda {

class Tuner {
 public:
  // Times of each candidate; the least of them counts, because the first includes loading the kernel.
  static constexpr int kSamples = 3;
  // And of those that come close to the fastest, whose times scatter: with three samples each, the choice was at times
  // 10 % slower than the fastest on an H100.
  static constexpr int kSamplesOfTheClose = 8;
  static constexpr float kClose = 1.1f;

  explicit Tuner(size_t candidates) : candidates_(candidates) {}

  // The candidate for the next call, and whether its time is wanted.
  struct Turn {
    size_t candidate;
    bool measure;
  };
  Turn Next() {
    const float fastest = candidates_[Best()].milliseconds;
    for (int round = 0; round < kSamplesOfTheClose; ++round) {
      for (size_t i = 0; i < candidates_.size(); ++i) {
        if (candidates_[i].failed || candidates_[i].started != round) continue;
        if (round >= kSamples && !(candidates_[i].milliseconds < kClose * fastest)) continue;
        ++candidates_[i].started;
        return {i, true};
      }
    }
    return {Best(), false};
  }

  void Record(size_t candidate, float milliseconds) {
    if (milliseconds < candidates_[candidate].milliseconds) candidates_[candidate].milliseconds = milliseconds;
  }

  // Not to be tried again while another is left.
  void Fail(size_t candidate) { candidates_[candidate].failed = true; }

  // What it failed for may have passed. Its turn is gone, so that it is measured less often, if ever.
  void Forgive(size_t candidate) { candidates_[candidate].failed = false; }

  // The fastest so far of those that have not failed; without any time the first of them; the first where all have.
  size_t Best() const {
    size_t best = 0;
    for (size_t i = 1; i < candidates_.size(); ++i) {
      const Candidate& a = candidates_[i];
      const Candidate& b = candidates_[best];
      if (!a.failed && (b.failed || a.milliseconds < b.milliseconds)) best = i;
    }
    return best;
  }

 private:
  struct Candidate {
    int started = 0;
    bool failed = false;
    float milliseconds = std::numeric_limits<float>::infinity();
  };
  std::vector<Candidate> candidates_;
};

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_TUNER_H_
