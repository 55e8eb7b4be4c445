// Problems for the CUDA engine on the host, and their results by the definition in float64.
#ifndef TESTS_ENGINE_CUDA_PROBLEMS_H_
#define TESTS_ENGINE_CUDA_PROBLEMS_H_

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"

namespace wgrad::cuda {

struct Tensors {
  std::vector<double> input, out_backprop;  // as the element type rounds them
  std::vector<char> input_bytes, out_backprop_bytes;
};

template <typename T>
void Encode(std::vector<double>* values, std::vector<char>* bytes) {
  bytes->resize(values->size() * sizeof(T));
  for (size_t i = 0; i < values->size(); ++i) {
    const T value = Round<T>(static_cast<Accumulator<T>>((*values)[i]));
    (*values)[i] = Widen(value);
    std::memcpy(bytes->data() + i * sizeof(T), &value, sizeof(T));
  }
}

inline Tensors RandomTensors(const Problem& p) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  Tensors tensors;
  tensors.input.resize(InputElements(p));
  tensors.out_backprop.resize(OutputElements(p));
  for (double& value : tensors.input) value = normal(random);
  for (double& value : tensors.out_backprop) value = normal(random);
  return tensors;
}

inline void EncodeAll(const Problem& p, Tensors* tensors) {
  VisitElement(p.dtype, [&](auto element) {
    Encode<decltype(element)>(&tensors->input, &tensors->input_bytes);
    Encode<decltype(element)>(&tensors->out_backprop, &tensors->out_backprop_bytes);
  });
}

inline std::vector<double> Definition(const Problem& p, const Tensors& tensors) {
  std::vector<double> result(FilterElements(p), 0.0);
  const Strides x = InputStrides(p);
  const Strides dy = OutputStrides(p);
  for (int64_t kh = 0; kh < p.filter_height; ++kh)
    for (int64_t kw = 0; kw < p.filter_width; ++kw)
      for (int64_t c = 0; c < p.filter_channels; ++c)
        for (int64_t f = 0; f < p.out_channels; ++f) {
          double& sum = result[((kh * p.filter_width + kw) * p.filter_channels + c) * p.out_channels + f];
          const int64_t in_c = f / (p.out_channels / p.groups) * p.filter_channels + c;
          for (int64_t n = 0; n < p.batch; ++n)
            for (int64_t oh = 0; oh < p.out_height; ++oh)
              for (int64_t ow = 0; ow < p.out_width; ++ow) {
                const int64_t h = oh * p.stride_height + kh * p.dilation_height - p.pad_top;
                const int64_t w = ow * p.stride_width + kw * p.dilation_width - p.pad_left;
                if (h < 0 || h >= p.in_height || w < 0 || w >= p.in_width) continue;
                sum += tensors.input[n * x.n + h * x.h + w * x.w + in_c * x.c] *
                       tensors.out_backprop[n * dy.n + oh * dy.h + ow * dy.w + f * dy.c];
              }
        }
  return result;
}

inline std::vector<double> Decode(const Problem& p, const std::vector<char>& bytes) {
  std::vector<double> result(FilterElements(p));
  VisitElement(p.dtype, [&](auto element) {
    for (size_t i = 0; i < result.size(); ++i) {
      std::memcpy(&element, bytes.data() + i * sizeof(element), sizeof(element));
      result[i] = Widen(element);
    }
  });
  return result;
}

inline double RelativeError(const std::vector<double>& actual, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

inline double Tolerance(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return 0x1p-11;
    case DataType::kBFloat16:
      return 0x1p-8;
    case DataType::kFloat32:
      return 1.5e-6;
    case DataType::kFloat64:
      break;
  }
  return 1e-14;
}

inline Problem Make(int64_t batch, int64_t height, int64_t width, int64_t filter_channels, int64_t groups,
                    int64_t group_out_channels, int64_t filter_height, int64_t filter_width) {
  Problem p;
  p.batch = batch;
  p.in_height = height;
  p.in_width = width;
  p.groups = groups;
  p.filter_channels = filter_channels;
  p.in_channels = filter_channels * groups;
  p.out_channels = group_out_channels * groups;
  p.filter_height = filter_height;
  p.filter_width = filter_width;
  return p;
}

inline int64_t OutSize(int64_t in, int64_t filter, int64_t stride, int64_t dilation, int64_t pad_total) {
  return (in + pad_total - (filter - 1) * dilation - 1) / stride + 1;
}

inline Problem Window(Problem p, int64_t stride, int64_t dilation, int64_t pad_top, int64_t pad_bottom,
                      int64_t pad_left, int64_t pad_right) {
  p.stride_height = stride;
  p.stride_width = stride + (p.in_width > 8 ? 1 : 0);
  p.dilation_height = p.dilation_width = dilation;
  p.pad_top = pad_top;
  p.pad_left = pad_left;
  p.out_height = OutSize(p.in_height, p.filter_height, p.stride_height, dilation, pad_top + pad_bottom);
  p.out_width = OutSize(p.in_width, p.filter_width, p.stride_width, dilation, pad_left + pad_right);
  return p;
}

inline std::vector<Problem> Shapes() {
  return {
      Window(Make(2, 7, 9, 8, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1),  Window(Make(3, 8, 8, 3, 1, 5, 3, 2), 2, 1, 0, 1, 2, 0),
      Window(Make(2, 9, 11, 4, 1, 12, 2, 3), 2, 2, 3, 0, 1, 2), Window(Make(5, 6, 5, 1, 1, 1, 1, 1), 1, 1, 0, 0, 0, 0),
      Window(Make(2, 6, 6, 70, 1, 67, 1, 1), 1, 1, 0, 0, 0, 0),  // more than one tile of the general kernel
      Window(Make(3, 8, 7, 1, 35, 1, 3, 3), 1, 1, 1, 1, 1, 1),   // depthwise, more than one warp of channels
      Window(Make(2, 8, 9, 1, 6, 3, 5, 5), 2, 1, 2, 2, 1, 2),    // depthwise with a multiplier of 3
      Window(Make(3, 7, 7, 4, 5, 4, 3, 3), 1, 2, 2, 2, 2, 2),    // thin groups
      Window(Make(2, 6, 6, 16, 2, 24, 3, 3), 1, 1, 0, 1, 1, 0),  // groups wide enough for the GEMM
      Window(Make(2, 5, 5, 3, 1, 4, 2, 2), 4, 1, 0, 0, 0, 0),    // stride beyond the filter
      Window(Make(2, 9, 12, 3, 1, 16, 5, 5), 2, 1, 2, 1, 2, 2),  // few channels, which wgmma folds
      Window(Make(2, 7, 8, 8, 1, 24, 3, 7), 1, 1, 1, 1, 5, 3),   // the same, and more padding than filter
  };
}

}  // namespace wgrad::cuda

#endif  // TESTS_ENGINE_CUDA_PROBLEMS_H_
