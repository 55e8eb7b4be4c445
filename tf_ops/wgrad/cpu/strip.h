// Strips: output rows of one image, or a part of a long one, with the pixels of X that they see. X is loaded once for
// all filter taps, with zeros in the padding.
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

// Output columns of a strip: all of them, or a near-equal part of a long row, such as a signal has in one dimension,
// which would fill no cache and be a single task.
inline int64_t StripColumns(const Problem& p) {
  constexpr int64_t kLongRow = 1024, kPartOfRow = 320;
  return p.out_width <= kLongRow ? p.out_width : NearEqualShare(p.out_width, kPartOfRow);
}

inline bool CutsRows(const Problem& p) { return StripColumns(p) < p.out_width; }

// Pixels in a row of a strip of X.
inline int64_t StripWidth(const Problem& p) {
  return (StripColumns(p) - 1) * p.stride_width + (p.filter_width - 1) * p.dilation_width + 1;
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
  return StripIsReachable(p) && static_cast<double>(StripInputRows(p, 1)) * StripWidth(p) * channels <= kMaxElements;
}

// Pixels from one panel of a strip to the next. Odd, so that neighbouring panels start in different cache sets.
inline int64_t InputPitch(const Problem& p, int64_t output_rows) {
  return (StripInputRows(p, output_rows) * StripWidth(p)) | 1;
}

// Strips of all images, of so many rows and columns each; one row where rows are cut.
inline int64_t Strips(const Problem& p, int64_t strip_rows, int64_t strip_columns) {
  return p.batch * CeilDiv(p.out_height, strip_rows) * CeilDiv(p.out_width, strip_columns);
}

// One of them, in order. Its output pixels follow each other in memory.
struct Strip {
  int64_t n, oh, rows, ow, columns;

  Strip(const Problem& p, int64_t strip_rows, int64_t strip_columns, int64_t index) {
    const int64_t parts = CeilDiv(p.out_width, strip_columns);
    ow = index % parts * strip_columns;
    columns = std::min(strip_columns, p.out_width - ow);
    index /= parts;
    const int64_t strips_per_column = CeilDiv(p.out_height, strip_rows);
    n = index / strips_per_column;
    oh = index % strips_per_column * strip_rows;
    rows = std::min(strip_rows, p.out_height - oh);
  }

  int64_t pixels() const { return rows * columns; }
  int64_t first_pixel(const Problem& p) const { return (n * p.out_height + oh) * p.out_width + ow; }
};

// The pixels of X that the next strip adds: right behind those that this one sees, but for the padding between images,
// and for the upper rows of a part of a row, which the strips above have seen.
inline Range NewInputPixels(const Problem& p, const Strip& strip) {
  const bool part = CutsRows(p);
  const int64_t end_row = strip.oh * p.stride_height - p.pad_top + StripInputRows(p, strip.rows);
  const int64_t end_column = part ? strip.ow * p.stride_width - p.pad_left + StripWidth(p) : p.in_width;
  const int64_t seen_rows = strip.n * p.in_height + std::clamp<int64_t>(end_row, 0, p.in_height);
  const int64_t begin = (seen_rows - 1) * p.in_width + std::clamp<int64_t>(end_column, 0, p.in_width);
  const int64_t count = part ? strip.columns * p.stride_width : strip.rows * p.stride_height * p.in_width;
  return {begin, begin + count};
}

// For each row of X that the strip sees, calls load(offset, pixels, slot) with the offset in X of the first element
// that it sees, and clear(slot, pixels) for what lies in the padding. `slot` is the strip's pixel where the first one
// goes. Where rows are not cut, all strips have the same columns in the padding, which are never touched.
template <typename Load, typename Clear>
inline void ForEachInputRow(const Problem& p, const Strip& strip, const Load& load, const Clear& clear) {
  const int64_t width = StripWidth(p);
  const int64_t first_column = strip.ow * p.stride_width - p.pad_left;
  const int64_t begin = std::clamp<int64_t>(-first_column, 0, width);
  const int64_t end = std::clamp<int64_t>(p.in_width - first_column, begin, width);
  int64_t ih = strip.oh * p.stride_height - p.pad_top;
  for (int64_t row = 0; row < StripInputRows(p, strip.rows); ++row, ++ih) {
    const int64_t slot = row * width;
    if (ih < 0 || ih >= p.in_height) {
      clear(slot, width);
      continue;
    }
    if (begin < end) {
      const int64_t pixel = (strip.n * p.in_height + ih) * p.in_width + first_column + begin;
      load(pixel * p.in_channels, end - begin, slot + begin);
    }
    if (CutsRows(p)) {
      clear(slot, begin);
      clear(slot + end, width - end);
    }
  }
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_STRIP_H_
