// Problems at the edges of the algorithms: one of everything, one more than a vector, taps that see only padding.
#ifndef TESTS_ENGINE_PROBLEMS_H_
#define TESTS_ENGINE_PROBLEMS_H_

#include <string>
#include <vector>

#include "tf_ops/wgrad/problem.h"

// A square image and filter with the output size that follows; `pad` on all sides.
inline wgrad::Problem Square(int64_t batch, int64_t image, int64_t in_channels, int64_t out_channels, int64_t filter,
                             int64_t stride, int64_t dilation, int64_t pad, int64_t groups) {
  wgrad::Problem p;
  p.batch = batch;
  p.in_height = p.in_width = image;
  p.in_channels = in_channels;
  p.filter_height = p.filter_width = filter;
  p.filter_channels = in_channels / groups;
  p.out_height = p.out_width = (image + 2 * pad - (filter - 1) * dilation - 1) / stride + 1;
  p.out_channels = out_channels;
  p.groups = groups;
  p.stride_height = p.stride_width = stride;
  p.dilation_height = p.dilation_width = dilation;
  p.pad_top = p.pad_left = pad;
  return p;
}

inline std::string Describe(const wgrad::Problem& p) {
  const auto by = [](int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); };
  return std::string(wgrad::Name(p.dtype)) + (p.layout == wgrad::Layout::kNHWC ? " NHWC " : " NCHW ") +
         std::to_string(p.batch) + "x" + by(p.in_height, p.in_width) + "x" + std::to_string(p.in_channels) + " -> " +
         by(p.out_height, p.out_width) + "x" + std::to_string(p.out_channels) + ", filter " +
         by(p.filter_height, p.filter_width) + ", stride " + by(p.stride_height, p.stride_width) + ", dilation " +
         by(p.dilation_height, p.dilation_width) + ", pad " + by(p.pad_top, p.pad_left) + ", groups " +
         std::to_string(p.groups);
}

inline std::vector<wgrad::Problem> EdgeProblems() {
  std::vector<wgrad::Problem> problems = {
      Square(1, 1, 1, 1, 1, 1, 1, 0, 1),        // one of everything
      Square(2, 5, 17, 33, 1, 1, 1, 0, 1),      // one more than a vector
      Square(3, 9, 64, 64, 1, 1, 1, 0, 1),      // pointwise, in place
      Square(3, 9, 37, 2, 1, 1, 1, 0, 1),       // pointwise, few filters
      Square(2, 11, 40, 3, 3, 1, 1, 1, 1),      // few filters, exchanged: strips of fused columns
      Square(3, 11, 40, 7, 3, 1, 2, 2, 1),      // few filters, exchanged: where they lie
      Square(1, 14, 35, 2, 5, 1, 1, 0, 1),      // few filters, without padding
      Square(2, 13, 19, 2, 3, 1, 2, 2, 1),      // few filters, dilated
      Square(1, 12, 21, 1, 3, 1, 1, 4, 1),      // few filters, more padding than the filter reaches
      Square(2, 8, 3, 1, 1, 1, 1, 0, 1),        // pointwise, bundles of pixels with more channels than filters
      Square(4, 9, 5, 30, 1, 1, 1, 0, 1),       // pointwise, bundles of pixels with more filters than channels
      Square(16, 7, 1, 1, 1, 1, 1, 0, 1),       // pointwise, bundles of pixels that fill a vector
      Square(2, 40, 8, 6, 1, 1, 1, 0, 1),       // pointwise, bundles of pixels with channels that fill a vector
      Square(4, 9, 5, 5, 1, 1, 1, 0, 1),        // pointwise, bundles of pixels that are packed
      Square(3, 17, 64, 2, 1, 1, 1, 0, 1),      // pointwise, few filters, in place
      Square(3, 17, 3, 48, 1, 1, 1, 0, 1),      // pointwise, few channels, in place
      Square(1, 33, 16, 32, 1, 1, 1, 0, 1),     // pointwise, in place in several tiles of rows
      Square(2, 17, 6, 21, 1, 1, 1, 0, 1),      // pointwise, in place, a last vector in part empty
      Square(2, 17, 35, 7, 1, 1, 1, 0, 1),      // pointwise, the same exchanged
      Square(2, 21, 23, 24, 1, 1, 1, 0, 1),     // pointwise, in place in vectors half as wide
      Square(2, 33, 70, 43, 1, 1, 1, 0, 1),     // pointwise, in place in wide vectors, the last one in part empty
      Square(1, 1, 6, 21, 1, 1, 1, 0, 1),       // pointwise, one pixel, whose last vector reaches over the end
      Square(1, 7, 1, 3, 1, 1, 1, 0, 1),        // pointwise, pixels so thin that several would reach over the end
      Square(1, 9, 6, 5, 1, 1, 1, 0, 1),        // pointwise, the same with vectors of 64 bytes
      Square(3, 27, 49, 80, 1, 1, 1, 0, 1),     // pointwise, in place in wide vectors, several slices of blocks
      Square(1, 46, 280, 272, 1, 1, 1, 0, 1),   // pointwise, in place, slices that share out the rows of dW
      Square(1, 23, 8, 174, 1, 1, 1, 0, 1),     // pointwise, in place, the last pixel in a block of its own
      Square(1, 23, 200, 700, 1, 1, 1, 0, 1),   // pointwise, in place in parts of the columns of dW
      Square(1, 23, 700, 200, 1, 1, 1, 0, 1),   // pointwise, in place in parts of the rows of dW
      Square(2, 9, 48, 96, 1, 2, 1, 0, 1),      // strided pointwise
      Square(2, 12, 5, 37, 4, 4, 1, 0, 1),      // patches side by side, folded
      Square(1, 12, 19, 9, 2, 2, 1, 0, 1),      // patches side by side, ragged channels
      Square(1, 2, 3, 5, 7, 1, 1, 3, 1),        // filter larger than the image
      Square(2, 11, 4, 6, 2, 5, 1, 0, 1),       // stride larger than the filter
      Square(1, 3, 5, 4, 3, 1, 4, 4, 1),        // dilation that skips the image
      Square(2, 13, 3, 40, 7, 2, 1, 3, 1),      // few channels: fused columns
      Square(1, 12, 5, 9, 11, 4, 1, 2, 1),      // fused columns in unequal slices
      Square(1, 95, 3, 20, 3, 1, 1, 1, 1),      // fused columns, one row to a strip, an odd number of pixels
      Square(1, 190, 2, 17, 7, 2, 1, 3, 1),     // fused columns, strided pairs of pixels
      Square(1, 250, 1, 33, 2, 3, 1, 0, 1),     // fused columns, pairs of pixels with gaps
      Square(1, 90, 5, 40, 5, 4, 1, 180, 1),    // fused columns, pairs of pixels in wide padding
      Square(2, 20, 15, 12, 5, 1, 1, 2, 1),     // fused columns, several strips
      Square(1, 20, 300, 20, 5, 1, 1, 2, 1),    // strips of several channel blocks, the last one ragged
      Square(1, 71, 33, 1, 3, 3, 1, 1, 1),      // strips of several channel blocks that follow each other in one task
      Square(2, 16, 96, 96, 3, 1, 1, 1, 4),     // strips of groups side by side
      Square(1, 17, 74, 34, 3, 1, 1, 1, 2),     // strips of groups with ragged panels
      Square(1, 19, 40, 200, 3, 2, 1, 1, 5),    // strips of groups with more columns than one panel
      Square(2, 9, 34, 68, 3, 2, 1, 1, 17),     // 17 groups
      Square(2, 14, 24, 24, 3, 1, 1, 1, 24),    // depthwise
      Square(2, 17, 37, 37, 7, 3, 1, 3, 37),    // depthwise, ragged channels, the columns of the filter in shares
      Square(1, 9, 19, 19, 5, 1, 3, 6, 19),     // depthwise, dilated: every pixel sees through other columns
      Square(2, 3, 600, 600, 3, 1, 1, 1, 600),  // depthwise, several blocks of channels
      Square(2, 9, 37, 37, 7, 1, 1, 3, 37),     // depthwise, the widest window, ragged channels
      Square(2, 10, 37, 37, 7, 2, 1, 3, 37),    // depthwise, the widest window of stride 2
      Square(2, 10, 24, 24, 5, 2, 1, 0, 24),    // depthwise of stride 2, pixels at the end that no output sees
      Square(2, 14, 24, 24, 3, 2, 1, 1, 24),    // depthwise of stride 2
      Square(2, 60, 97, 97, 3, 1, 1, 1, 97),    // depthwise, enough of it to read whole rows ahead
      Square(2, 75, 97, 97, 5, 2, 1, 2, 97),    // depthwise of stride 2, whole rows
      Square(1, 44, 64, 64, 3, 1, 1, 1, 64),    // depthwise, several windows to a row
      Square(1, 61, 32, 32, 3, 2, 1, 1, 32),    // depthwise of stride 2, several windows to a row
      Square(1, 12, 19, 19, 9, 1, 1, 4, 19),    // depthwise, wider than a window
      Square(3, 1, 16, 16, 5, 1, 1, 2, 16),     // depthwise, one pixel
      Square(2, 9, 24, 24, 4, 1, 1, 0, 24),     // depthwise without padding
      Square(1, 4, 16, 16, 2, 1, 1, 5, 16),     // depthwise, outputs that see nothing but padding
      Square(1, 4, 16, 16, 3, 1, 1, 5, 16),     // depthwise, windows that see nothing but padding
      Square(1, 1, 16, 16, 7, 1, 1, 3, 16),     // depthwise, a window on an image of one pixel
      Square(2, 2, 24, 24, 7, 1, 1, 6, 24),     // depthwise, a window wider than the image
      Square(2, 3, 24, 24, 7, 2, 1, 9, 24),     // depthwise of stride 2, a window that begins in the padding
      Square(2, 8, 3, 3, 3, 1, 1, 1, 3),        // depthwise with less than one vector
      Square(2, 7, 6, 18, 5, 2, 1, 2, 6),       // depthwise with a multiplier
      Square(1, 16, 32, 32, 3, 1, 2, 2, 8),     // thin groups, dilated
      Square(2, 12, 40, 20, 3, 1, 1, 1, 5),     // wide groups
      Square(2, 13, 64, 64, 3, 1, 1, 1, 16),    // groups in place, several to a vector
      Square(2, 11, 48, 48, 3, 2, 1, 1, 6),     // groups in place, as wide as half of a vector of 64 bytes
      Square(3, 10, 32, 64, 3, 1, 2, 2, 16),    // groups in place, vectors of X that begin before the last groups
      Square(2, 8, 32, 80, 3, 1, 1, 1, 16),     // groups in place that reach over the end of a vector
      Square(2, 30, 32, 128, 1, 3, 1, 0, 32),   // groups in place, one channel and one tap each
      Square(1, 9, 40, 80, 5, 1, 1, 2, 5),      // groups in place, one to a wide vector
      Square(2, 13, 80, 160, 3, 2, 1, 1, 5),    // groups in place, two wide vectors each
      Square(2, 16, 62, 96, 3, 1, 1, 1, 2),     // groups in place, three wide vectors and unequal tiles of rows
      Square(2, 3, 48, 48, 3, 1, 5, 5, 6),      // groups in place, taps that see nothing but padding
      Square(9, 15, 64, 32, 2, 1, 1, 0, 2),     // groups in place, two groups of many strips
      Square(2, 14, 48, 48, 3, 1, 1, 1, 2),     // groups in place, last vectors in part empty
      Square(2, 17, 12, 40, 5, 1, 1, 2, 1),     // in place, a last vector in part empty
      Square(2, 15, 34, 16, 3, 2, 1, 1, 1),     // in place with stride 2, three unequal tiles of rows
      Square(9, 6, 7, 24, 5, 1, 1, 2, 1),       // in place, strips of several images, the last one of fewer
      Square(1, 19, 20, 80, 3, 1, 4, 3, 1),     // in place, dilated
      Square(1, 5, 9, 33, 7, 1, 2, 6, 1),       // in place, a filter larger than the image
      Square(3, 11, 5, 17, 1, 2, 1, 0, 1),      // in place, a single tap
      Square(5, 4, 18, 20, 3, 1, 6, 6, 1),      // in place, an image without a partner, taps that see only padding
      Square(3, 90, 17, 21, 2, 3, 1, 0, 1),     // in place, pairs of images in several strips
      Square(3, 8, 16, 16, 3, 1, 1, 1, 1),      // Winograd, whole tiles
      Square(2, 9, 19, 35, 3, 1, 1, 0, 1),      // Winograd in tiles of 4 and of 3 pixels, ragged channels
      Square(1, 12, 8, 12, 3, 1, 3, 3, 1),      // Winograd, nine phases
      Square(1, 15, 8, 12, 3, 1, 3, 3, 1),      // Winograd in tiles of 3 x 3, nine phases
      Square(1, 5, 8, 8, 3, 1, 7, 7, 1),        // Winograd in tiles of 3 x 3, more phases than pixels
      Square(2, 11, 19, 35, 3, 1, 1, 0, 1),     // Winograd in tiles of 3 x 3, whole ones, ragged channels
      Square(18, 5, 20, 12, 3, 1, 1, 1, 1),     // Winograd in tiles of 3 x 3, ragged ones, several chunks
      Square(9, 17, 20, 12, 3, 1, 1, 2, 1),     // Winograd, several chunks
      Square(17, 7, 20, 12, 3, 1, 1, 1, 1),     // Winograd, a chunk without tiles of 4 rows
      Square(3, 33, 20, 12, 3, 2, 1, 1, 1),     // Winograd of stride 2, several chunks
      Square(17, 13, 20, 12, 3, 2, 1, 1, 1),    // Winograd of stride 2, a chunk without tiles of 4 rows
      Square(2, 11, 20, 12, 3, 2, 1, 1, 1),     // Winograd of stride 2 in tiles of 3 x 3
      Square(3, 13, 19, 35, 3, 2, 1, 1, 1),     // Winograd of stride 2 in tiles of 4 and of 3 pixels, ragged channels
      Square(1, 28, 9, 11, 3, 2, 3, 2, 1),      // Winograd of stride 2, nine phases
      Square(7, 13, 192, 160, 3, 2, 1, 1, 1),   // Winograd of stride 2, shared transforms
      Square(2, 6, 192, 160, 3, 1, 1, 1, 1),    // Winograd in tiles of 3 x 3, shared transforms
      Square(5, 14, 192, 160, 3, 1, 1, 1, 1),   // Winograd, shared transforms of more tiles than one run
      Square(35, 7, 192, 160, 3, 1, 1, 1, 1),   // Winograd, shared transforms of two chunks
      Square(1, 7, 288, 304, 3, 1, 1, 1, 2),    // Winograd, shared transforms of two groups
      Square(2, 10, 24, 72, 3, 1, 1, 1, 6),     // Winograd, groups with a ragged last vector
      Square(3, 8, 36, 24, 3, 1, 2, 2, 12),     // Winograd, bundles of groups, four phases
      Square(3, 9, 36, 24, 3, 1, 2, 2, 12),     // Winograd in tiles of 3 x 3, bundles of groups, four phases
      Square(1, 13, 20, 10, 3, 2, 1, 1, 5),     // Winograd of stride 2, groups that no bundle can share out
      Square(4, 10, 300, 8, 1, 1, 1, 0, 1),     // pointwise, few filters of many channels
      Square(4, 10, 300, 72, 1, 1, 1, 0, 1),    // more rows than are packed at a time, in slices of 24
      Square(1, 4, 8, 1100, 1, 1, 1, 0, 1),     // more columns than one task
  };
  wgrad::Problem oblong = Square(2, 9, 12, 20, 3, 1, 1, 0, 1);
  oblong.in_width = 14;
  oblong.filter_width = 2;
  oblong.stride_width = 3;
  oblong.dilation_height = 2;
  oblong.pad_top = 1;
  oblong.pad_left = 2;
  oblong.out_height = 7;
  oblong.out_width = 5;
  problems.push_back(oblong);  // nothing square, padding on one side only
  wgrad::Problem wide = Square(1, 5, 6, 10, 3, 1, 1, 1, 1);
  wide.in_width = wide.out_width = 400;
  problems.push_back(wide);  // a row longer than one chunk of a strip
  wide = Square(2, 6, 20, 12, 3, 1, 1, 1, 1);
  wide.in_width = wide.out_width = 14;
  problems.push_back(wide);  // Winograd, tiles of 3 rows
  wide = Square(2, 11, 20, 12, 3, 2, 1, 1, 1);
  wide.in_width = 15;
  wide.out_width = 8;
  problems.push_back(wide);  // Winograd of stride 2, tiles of 3 rows
  wide = Square(1, 4, 20, 20, 3, 2, 1, 1, 20);
  wide.in_width = 1201;
  wide.out_width = 601;
  problems.push_back(wide);  // depthwise, a row longer than one chain of sums
  wide = Square(2, 4, 20, 20, 5, 1, 1, 2, 20);
  wide.in_width = wide.out_width = 601;
  wide.dilation_height = 2;
  wide.pad_top = 4;
  problems.push_back(wide);  // depthwise, a row longer than one chain of windows
  wgrad::Problem lopsided = Square(2, 11, 37, 37, 3, 1, 1, 0, 37);
  lopsided.in_width = 16;
  lopsided.filter_width = 7;
  lopsided.stride_height = 2;
  lopsided.stride_width = 3;
  lopsided.dilation_height = 3;
  lopsided.dilation_width = 2;
  lopsided.pad_top = 1;
  lopsided.pad_left = 9;
  lopsided.out_height = 4;
  lopsided.out_width = 7;
  problems.push_back(lopsided);  // depthwise, nothing square
  wgrad::Problem tall = Square(2, 6, 20, 12, 3, 1, 1, 1, 1);
  tall.in_height = tall.out_height = 10;
  problems.push_back(tall);  // Winograd, tiles of 3 columns
  tall = Square(1, 9, 24, 24, 3, 1, 1, 1, 24);
  tall.in_height = tall.out_height = 601;
  problems.push_back(tall);  // depthwise, more rows than one chain of sums
  wgrad::Problem row = Square(2, 9, 2, 12, 1, 1, 1, 0, 1);
  row.filter_width = 7;
  row.pad_left = 3;
  problems.push_back(row);  // one row of taps: fused columns are a single tap, and yet not pointwise
  // Rows of 1050 output pixels, which are taken in parts.
  const auto add_long = [&problems](int64_t height, int64_t channels, int64_t filters, int64_t groups, int64_t taps,
                                    int64_t stride, int64_t dilation) {
    wgrad::Problem p = Square(2, height, channels, filters, 1, 1, 1, 0, groups);
    p.filter_width = taps;
    p.stride_width = stride;
    p.dilation_width = dilation;
    p.pad_left = taps / 2 * dilation;
    p.in_width = 1050 * stride;
    p.out_width = 1050;
    p.filter_height = p.in_height;
    p.pad_top = p.filter_height / 2;
    problems.push_back(p);
  };
  add_long(1, 3, 9, 1, 9, 2, 1);     // fused columns
  add_long(1, 20, 12, 1, 3, 1, 1);   // tap by tap
  add_long(3, 18, 6, 1, 3, 1, 2);    // several rows of taps, dilated
  add_long(1, 17, 5, 1, 3, 1, 450);  // taps that lie in three parts
  add_long(1, 40, 2, 1, 5, 1, 1);    // exchanged
  add_long(3, 34, 40, 2, 2, 3, 1);   // groups with ragged panels
  add_long(2, 6, 4, 2, 3, 1, 1);     // thin groups
  add_long(1, 9, 9, 3, 4, 3, 200);   // thin groups, far taps
  add_long(2, 32, 32, 8, 3, 1, 1);   // groups in place, several to a vector
  add_long(1, 32, 64, 2, 3, 2, 40);  // groups in place, two wide vectors each
  add_long(2, 18, 40, 1, 3, 2, 70);  // in place, a last vector in part empty
  add_long(1, 37, 37, 37, 3, 1, 1);  // depthwise, several windows to a part
  add_long(3, 20, 20, 20, 5, 2, 1);  // depthwise of stride 2, several rows of taps
  add_long(2, 17, 17, 17, 4, 1, 1);  // depthwise, runs
  add_long(1, 9, 9, 9, 6, 3, 400);   // depthwise, taps that lie in several parts, the columns of the filter in shares
  return problems;
}

#endif  // TESTS_ENGINE_PROBLEMS_H_
