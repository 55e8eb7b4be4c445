#include "tf_ops/wgrad/cpu/padding.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {
namespace {

// Along one dimension: tap by tap or pixel by pixel, whichever are fewer.
int64_t PairsInside(int64_t taps, int64_t dilation, int64_t outputs, int64_t stride, int64_t pad, int64_t size) {
  if (taps > outputs) {
    std::swap(taps, outputs);
    std::swap(dilation, stride);
  }
  int64_t pairs = 0;
  for (int64_t tap = 0; tap < taps; ++tap) {
    const Range seen = OutputsInside(tap * dilation - pad, stride, size, outputs);
    pairs += seen.size();
  }
  return pairs;
}

// Along one dimension.
double SeenPart(int64_t taps, int64_t dilation, int64_t stride) {
  return static_cast<double>(std::min(taps, stride / std::gcd(stride, dilation))) / static_cast<double>(stride);
}

}  // namespace

double PixelTaps(const Problem& p) {
  const double rows =
      PairsInside(p.filter_height, p.dilation_height, p.out_height, p.stride_height, p.pad_top, p.in_height);
  return rows * PairsInside(p.filter_width, p.dilation_width, p.out_width, p.stride_width, p.pad_left, p.in_width);
}

double AllPixelTaps(const Problem& p) {
  return static_cast<double>(Taps(p)) * static_cast<double>(p.out_height * p.out_width);
}

double SeenPart(const Problem& p) {
  return SeenPart(p.filter_height, p.dilation_height, p.stride_height) *
         SeenPart(p.filter_width, p.dilation_width, p.stride_width);
}

bool MostTapsInPadding(const Problem& p) { return PixelTaps(p) < 0.1 * AllPixelTaps(p); }

bool ManyTapsInPadding(const Problem& p) { return PixelTaps(p) < 0.8 * AllPixelTaps(p); }

}  // namespace wgrad
