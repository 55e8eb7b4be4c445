// The definition in problem.h, in float64, and how far from it a result may be.
#ifndef TESTS_FUZZ_DEFINITION_H_
#define TESTS_FUZZ_DEFINITION_H_

#include <algorithm>
#include <cmath>
#include <vector>

#include "tf_ops/wgrad/problem.h"

struct Definition {
  std::vector<double> dw;
  double square_norm = 0;  // of the finite elements; at least what random signs would give, where few sums cancel
};

// `x` and `dy` hold NHWC or NCHW, as the problem says.
inline Definition Define(const wgrad::Problem& p, const std::vector<double>& x, const std::vector<double>& dy) {
  const auto at = [&](int64_t n, int64_t h, int64_t w, int64_t c, int64_t height, int64_t width, int64_t channels) {
    return p.layout == wgrad::Layout::kNHWC ? ((n * height + h) * width + w) * channels + c
                                            : ((n * channels + c) * height + h) * width + w;
  };
  Definition definition;
  definition.dw.resize(wgrad::FilterElements(p));
  double squares = 0, square_norm = 0;
  for (int64_t i = 0; i < wgrad::FilterElements(p); ++i) {
    const int64_t f = i % p.out_channels, row = i / p.out_channels;
    const int64_t c = f / (p.out_channels / p.groups) * p.filter_channels + row % p.filter_channels;
    const int64_t kw = row / p.filter_channels % p.filter_width, kh = row / p.filter_channels / p.filter_width;
    double sum = 0;
    for (int64_t n = 0; n < p.batch; ++n) {
      for (int64_t oh = 0; oh < p.out_height; ++oh) {
        const int64_t ih = oh * p.stride_height + kh * p.dilation_height - p.pad_top;
        if (ih < 0 || ih >= p.in_height) continue;
        double row_sum = 0;
        for (int64_t ow = 0; ow < p.out_width; ++ow) {
          const int64_t iw = ow * p.stride_width + kw * p.dilation_width - p.pad_left;
          if (iw < 0 || iw >= p.in_width) continue;
          const double product = x[at(n, ih, iw, c, p.in_height, p.in_width, p.in_channels)] *
                                 dy[at(n, oh, ow, f, p.out_height, p.out_width, p.out_channels)];
          row_sum += product;
          if (std::isfinite(product)) squares += product * product;
        }
        sum += row_sum;
      }
    }
    definition.dw[i] = sum;
    if (std::isfinite(sum)) square_norm += sum * sum;
  }
  definition.square_norm = std::max(squares, square_norm);
  return definition;
}

// The largest error in the L2 norm that the contract allows: 1.5e-6 or 1e-14 of the norm, and one rounding to a 16-bit
// type, which for subnormal numbers is absolute.
inline double AllowedError(wgrad::DataType dtype, const Definition& definition) {
  const double norm = std::sqrt(definition.square_norm);
  const double elements = std::sqrt(static_cast<double>(definition.dw.size()));
  switch (dtype) {
    case wgrad::DataType::kFloat16:
      return (0x1p-11 + 1.5e-6) * norm + 0x1p-25 * elements;
    case wgrad::DataType::kBFloat16:
      return (0x1p-8 + 1.5e-6) * norm + 0x1p-134 * elements;
    case wgrad::DataType::kFloat32:
      return 1.5e-6 * norm;
    case wgrad::DataType::kFloat64:
      break;
  }
  return 1e-14 * norm;
}

#endif  // TESTS_FUZZ_DEFINITION_H_
