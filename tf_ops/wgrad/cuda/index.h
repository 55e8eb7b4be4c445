// Where things lie: strides of the tensors, pixels of dY, taps of the filter. All of it in int64.
#ifndef TF_OPS_WGRAD_CUDA_INDEX_H_
#define TF_OPS_WGRAD_CUDA_INDEX_H_

#include <cstdint>

#include "tf_ops/wgrad/cuda/host_device.h"
#include "tf_ops/wgrad/problem.h"

namespace wgrad::cuda {

WGRAD_HOST_DEVICE int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
WGRAD_HOST_DEVICE int64_t RoundUp(int64_t value, int64_t multiple) { return CeilDiv(value, multiple) * multiple; }

// Distance in elements between neighbours along each dimension.
struct Strides {
  int64_t n, h, w, c;
};

WGRAD_HOST_DEVICE Strides StridesOf(Layout layout, int64_t height, int64_t width, int64_t channels) {
  if (layout == Layout::kNHWC) return {height * width * channels, width * channels, channels, 1};
  return {height * width * channels, width, 1, height * width};
}

WGRAD_HOST_DEVICE Strides InputStrides(const Problem& p) {
  return StridesOf(p.layout, p.in_height, p.in_width, p.in_channels);
}

WGRAD_HOST_DEVICE Strides OutputStrides(const Problem& p) {
  return StridesOf(p.layout, p.out_height, p.out_width, p.out_channels);
}

// One position of dY over the whole batch: the K dimension of the GEMM.
struct Pixel {
  int64_t n, oh, ow;
};

WGRAD_HOST_DEVICE int64_t Pixels(const Problem& p) { return p.batch * p.out_height * p.out_width; }

WGRAD_HOST_DEVICE Pixel PixelAt(const Problem& p, int64_t index) {
  const int64_t row = index / p.out_width;
  return {row / p.out_height, row % p.out_height, index - row * p.out_width};
}

// Moves on by `count` pixels; without a division where count is about a row or less.
WGRAD_HOST_DEVICE void Advance(const Problem& p, int64_t count, Pixel* pixel) {
  pixel->ow += count;
  while (pixel->ow >= p.out_width) {
    pixel->ow -= p.out_width;
    if (++pixel->oh == p.out_height) {
      pixel->oh = 0;
      ++pixel->n;
    }
  }
}

// One row of the filter gradient seen as a matrix [filter_height * filter_width * filter_channels, out_channels]:
// where it looks in X, relative to the window's corner.
struct Tap {
  int64_t h, w;     // offset from oh * stride_height, ow * stride_width; the padding is taken off
  int64_t channel;  // within the group
};

WGRAD_HOST_DEVICE int64_t FilterRows(const Problem& p) { return p.filter_height * p.filter_width * p.filter_channels; }

WGRAD_HOST_DEVICE Tap TapAt(const Problem& p, int64_t row) {
  const int64_t position = row / p.filter_channels;
  const int64_t kh = position / p.filter_width;
  return {kh * p.dilation_height - p.pad_top, (position - kh * p.filter_width) * p.dilation_width - p.pad_left,
          row - position * p.filter_channels};
}

WGRAD_HOST_DEVICE bool InsideInput(const Problem& p, int64_t h, int64_t w) {
  return static_cast<uint64_t>(h) < static_cast<uint64_t>(p.in_height) &&
         static_cast<uint64_t>(w) < static_cast<uint64_t>(p.in_width);
}

struct Range {
  int64_t begin, end;
};

// Slice `index` of `count` over [0, size): equal but for the last ones, which may be short or empty.
WGRAD_HOST_DEVICE Range SliceOf(int64_t size, int64_t count, int64_t index) {
  const int64_t length = CeilDiv(size, count);
  const int64_t begin = index * length < size ? index * length : size;
  return {begin, begin + length < size ? begin + length : size};
}

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_INDEX_H_
