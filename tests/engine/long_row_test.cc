// Rows of millions of pixels, as sound has them, are summed as exactly as images are.
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/heap.h"
#include "tf_ops/wgrad/cpu/engine.h"

namespace {

using namespace wgrad;

class Alone : public Executor {
 public:
  int workers() const override { return 1; }
  void Run(int64_t tasks, const std::function<void(int64_t, int)>& run) override {
    for (int64_t task = 0; task < tasks; ++task) run(task, 0);
  }
};

// X is 1, so that every tap is the sum of dY, uniform in [-1, 1).
void TestDepthwise(int64_t taps) {
  constexpr int64_t kPixels = 1 << 22, kChannels = 8;
  Problem p = {};
  p.dtype = DataType::kFloat32;
  p.batch = p.groups = 1;
  p.in_height = p.out_height = p.filter_height = 1;
  p.filter_width = taps;
  p.in_width = kPixels + taps - 1;
  p.out_width = kPixels;
  p.in_channels = p.out_channels = p.groups = kChannels;
  p.filter_channels = 1;
  p.stride_height = p.stride_width = p.dilation_height = p.dilation_width = 1;
  const std::vector<float> x(InputElements(p), 1);
  std::vector<float> dy(OutputElements(p));
  std::vector<double> sums(kChannels);
  std::mt19937 random(1);
  for (int64_t i = 0; i < OutputElements(p); ++i) {
    dy[i] = static_cast<float>(random() >> 8) * 0x1p-23f - 1;
    sums[i % kChannels] += dy[i];
  }

  std::vector<float> dw(FilterElements(p));
  Alone executor;
  Heap heap;
  Algorithm ran;
  CHECK_TRUE(ComputeFilterGradient(p, x.data(), dy.data(), dw.data(), Algorithm::kAuto, &executor, &heap, &ran).ok());
  CHECK_TRUE(ran == Algorithm::kDepthwise);
  double error = 0, norm = 0;
  for (int64_t i = 0; i < FilterElements(p); ++i) {
    const double want = sums[i % kChannels];
    error += (dw[i] - want) * (dw[i] - want);
    norm += want * want;
  }
  CHECK_LE(std::sqrt(error / norm), 1.5e-6);
}

}  // namespace

int main() {
  TestDepthwise(3);  // in windows
  TestDepthwise(2);  // in runs
  return Failures();
}
