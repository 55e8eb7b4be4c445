// Which of a block's output pixels see the inside of X through one filter tap, and where.
#ifndef TF_OPS_WGRAD_CPU_TAP_PIXELS_H_
#define TF_OPS_WGRAD_CPU_TAP_PIXELS_H_

#include <algorithm>
#include <cstdint>

#include "tf_ops/wgrad/cpu/ranges.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad {

// The pixels found, in the block's order: the pixel's index in the block and the offset of its first channel in X.
struct TapPixels {
  int32_t* indices;
  int64_t* offsets;
  int64_t count;
};

// Calls visit(index, n, oh, ow, ow_end) for each stretch of one output row among pixels [first, first + depth).
template <typename Visit>
inline void ForEachRow(const Problem& p, int64_t first, int64_t depth, const Visit& visit) {
  for (int64_t done = 0; done < depth;) {
    const int64_t pixel = first + done;
    const int64_t ow = pixel % p.out_width;
    const int64_t row = pixel / p.out_width;
    const int64_t ow_end = std::min(p.out_width, ow + depth - done);
    visit(done, row / p.out_height, row % p.out_height, ow, ow_end);
    done += ow_end - ow;
  }
}

// The pixels that see X through tap (kh, kw).
inline void FindTapPixels(const Problem& p, int64_t kh, int64_t kw, int64_t first, int64_t depth, TapPixels* pixels) {
  const int64_t h_offset = kh * p.dilation_height - p.pad_top;
  const int64_t w_offset = kw * p.dilation_width - p.pad_left;
  const Range inside = OutputsInside(w_offset, p.stride_width, p.in_width, p.out_width);
  const int64_t step = p.stride_width * p.in_channels;
  int64_t count = 0;
  ForEachRow(p, first, depth, [&](int64_t index, int64_t n, int64_t oh, int64_t ow, int64_t ow_end) {
    const int64_t ih = oh * p.stride_height + h_offset;
    if (ih < 0 || ih >= p.in_height) return;
    const int64_t begin = std::max(ow, inside.begin), end = std::min(ow_end, inside.end);
    int64_t offset = ((n * p.in_height + ih) * p.in_width + begin * p.stride_width + w_offset) * p.in_channels;
    for (int64_t i = begin; i < end; ++i, offset += step) {
      pixels->indices[count] = static_cast<int32_t>(index + i - ow);
      pixels->offsets[count++] = offset;
    }
  });
  pixels->count = count;
}

// All pixels of the block; those that see the padding have a negative offset.
inline void FindAllPixels(const Problem& p, int64_t kh, int64_t kw, int64_t first, int64_t depth, TapPixels* pixels) {
  FindTapPixels(p, kh, kw, first, depth, pixels);
  int64_t found = pixels->count;
  for (int64_t i = depth; i-- > 0;) {
    const bool inside = found > 0 && pixels->indices[found - 1] == i;
    pixels->offsets[i] = inside ? pixels->offsets[--found] : -1;
  }
  for (int64_t i = 0; i < depth; ++i) pixels->indices[i] = static_cast<int32_t>(i);
  pixels->count = depth;
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_TAP_PIXELS_H_
