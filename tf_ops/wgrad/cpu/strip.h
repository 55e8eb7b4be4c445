// Strips: whole output rows of one image, with the rows of X that they see. X is loaded once for all filter taps, with
// zeros in the padding.
#ifndef TF_OPS_WGRAD_CPU_STRIP_H_
#define TF_OPS_WGRAD_CPU_STRIP_H_

#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/ranges.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// Rows of X that `rows` output rows see.
inline int64_t StripInputRows(const Problem& p, int64_t rows) {
  return (rows - 1) * p.stride_height + (p.filter_height - 1) * p.dilation_height + 1;
}

inline int64_t PaddedWidth(const Problem& p) {
  return (p.out_width - 1) * p.stride_width + (p.filter_width - 1) * p.dilation_width + 1;
}

// Whether a strip is small enough to be computed with at all: attributes may be as large as 2^31 - 1.
inline bool StripIsReachable(const Problem& p) {
  constexpr int64_t kMaxReach = 1 << 16, kMaxStride = 1 << 10;
  return (p.filter_height - 1) * p.dilation_height <= kMaxReach &&
         (p.filter_width - 1) * p.dilation_width <= kMaxReach && p.stride_height <= kMaxStride &&
         p.stride_width <= kMaxStride;
}

// Whether the memory of a thread can hold the strip of one output row, with so many channels of each pixel. Its exact
// size may not fit into 64 bits.
inline bool StripFits(const Problem& p, int64_t channels) {
  constexpr double kMaxElements = 1 << 22;
  return StripIsReachable(p) && static_cast<double>(StripInputRows(p, 1)) * PaddedWidth(p) * channels <= kMaxElements;
}

// Pixels from one panel of a strip to the next. Odd, so that neighbouring panels start in different cache sets.
inline int64_t InputPitch(const Problem& p, int64_t output_rows) {
  return (StripInputRows(p, output_rows) * PaddedWidth(p)) | 1;
}

// The strips of all images, in order.
struct Strip {
  int64_t n, oh, rows;

  Strip(const Problem& p, int64_t strip_rows, int64_t index) {
    const int64_t strips_per_image = CeilDiv(p.out_height, strip_rows);
    n = index / strips_per_image;
    oh = index % strips_per_image * strip_rows;
    rows = std::min(strip_rows, p.out_height - oh);
  }
};

// For each row of X that the strip sees, calls load(offset, pixels, slot) with the offset of the row's first element in
// X, or clear(slot) if the row lies in the padding. `slot` is the strip's pixel where the first one goes. What lies in
// the columns in the padding is never touched.
template <typename Load, typename Clear>
inline void ForEachInputRow(const Problem& p, const Strip& strip, const Load& load, const Clear& clear) {
  const int64_t width = PaddedWidth(p);
  const int64_t pixels = std::min(p.in_width, width - p.pad_left);
  int64_t ih = strip.oh * p.stride_height - p.pad_top;
  for (int64_t row = 0; row < StripInputRows(p, strip.rows); ++row, ++ih) {
    if (ih < 0 || ih >= p.in_height) {
      clear(row * width);
    } else if (pixels > 0) {
      load((strip.n * p.in_height + ih) * p.in_width * p.in_channels, pixels, row * width + p.pad_left);
    }
  }
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_STRIP_H_
