// One filter-gradient problem: dW[kh, kw, c, f] = sum over n, oh, ow of
//   X[n, oh * stride_height + kh * dilation_height - pad_top,
//        ow * stride_width  + kw * dilation_width  - pad_left, g * filter_channels + c] * dY[n, oh, ow, f]
// where g = f / (out_channels / groups) and taps that fall outside X contribute nothing.
#ifndef TF_OPS_WGRAD_PROBLEM_H_
#define TF_OPS_WGRAD_PROBLEM_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tf_ops/wgrad/status.h"

namespace wgrad {

enum class DataType : int32_t { kFloat16, kBFloat16, kFloat32, kFloat64 };
enum class Layout : int32_t { kNHWC, kNCHW };
enum class Padding : int32_t { kValid, kSame, kExplicit };

struct Problem {
  DataType dtype = DataType::kFloat32;
  Layout layout = Layout::kNHWC;  // of X and dY; dW is always HWIO
  int64_t batch = 0;
  int64_t in_height = 0, in_width = 0, in_channels = 0;
  int64_t filter_height = 0, filter_width = 0;
  int64_t filter_channels = 0;  // in_channels / groups
  int64_t out_height = 0, out_width = 0, out_channels = 0;
  int64_t groups = 1;
  int64_t stride_height = 1, stride_width = 1;
  int64_t dilation_height = 1, dilation_width = 1;
  int64_t pad_top = 0, pad_left = 0;  // bottom and right follow from the output size
};

// The attributes as TensorFlow's op carries them, in the order of data_format.
struct ConvAttributes {
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations = {1, 1, 1, 1};
  Padding padding = Padding::kValid;
  std::vector<int64_t> explicit_paddings;
  Layout layout = Layout::kNHWC;
};

// What can be said of the attributes before any shape is known.
Status ValidateAttributes(const ConvAttributes& attributes);

// The shape that out_backprop must have, for attributes that ValidateAttributes accepted.
Status OutBackpropShape(const ConvAttributes& attributes, const std::vector<int64_t>& input_shape,
                        const std::vector<int64_t>& filter_shape, std::vector<int64_t>* shape);

// Checks the three shapes against attributes that ValidateAttributes accepted, and fills `problem`.
Status MakeProblem(DataType dtype, const ConvAttributes& attributes, const std::vector<int64_t>& input_shape,
                   const std::vector<int64_t>& filter_shape, const std::vector<int64_t>& out_backprop_shape,
                   Problem* problem);

int64_t ElementSize(DataType dtype);
const char* Name(DataType dtype);

inline int64_t InputElements(const Problem& p) { return p.batch * p.in_height * p.in_width * p.in_channels; }
inline int64_t OutputElements(const Problem& p) { return p.batch * p.out_height * p.out_width * p.out_channels; }
inline int64_t Taps(const Problem& p) { return p.filter_height * p.filter_width; }
inline int64_t FilterElements(const Problem& p) { return Taps(p) * p.filter_channels * p.out_channels; }

// True when there is nothing to sum, so that dW is all zeros; the CPU's engine is not called then.
inline bool HasNoProducts(const Problem& p) { return InputElements(p) == 0 || OutputElements(p) == 0; }

// Multiplications and additions of the direct algorithm, taps in the padding included.
inline double DirectFlops(const Problem& p) {
  return 2.0 * static_cast<double>(FilterElements(p)) * static_cast<double>(p.batch * p.out_height * p.out_width);
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_PROBLEM_H_
