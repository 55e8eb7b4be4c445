// What zeros for the padding, or operands rounded to tf32, may have spoiled. The thread that writes a suspect element
// of the filter gradient computes it again by the definition, which leaves outside taps out and rounds nothing: a
// kernel of its own, which had nothing to do, took 3 us of a layer's 25 on an H100.
#ifndef TF_OPS_WGRAD_CUDA_REPAIR_H_
#define TF_OPS_WGRAD_CUDA_REPAIR_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/general.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/launch.h"
#include "tf_ops/wgrad/cuda/pack.h"

namespace wgrad::cuda {

// Element `index`, less than 2^31, of the filter gradient. The inner loop does nothing but multiply, so that several
// loads are on their way at once. Divisions are of 32 bits, because those of 64 are calls, and where a function has one
// after its wgmma instructions, the compiler makes each of these wait for the one before.
template <typename T>
WGRAD_DEVICE Accumulator<T> Define(const Problem& p, const T* input, const T* out_backprop, int64_t index) {
  const auto narrow = [](int64_t value) { return static_cast<uint32_t>(value); };
  const Strides x = InputStrides(p);
  const Strides dy = OutputStrides(p);
  const uint32_t row = narrow(index) / narrow(p.out_channels);
  const uint32_t channel = narrow(index) - row * narrow(p.out_channels);
  const uint32_t group = channel / (narrow(p.out_channels) / narrow(p.groups));
  const uint32_t tap = row / narrow(p.filter_channels);
  const uint32_t kh = tap / narrow(p.filter_width);
  const int64_t top = kh * p.dilation_height - p.pad_top;
  const int64_t left = (tap - kh * narrow(p.filter_width)) * p.dilation_width - p.pad_left;
  input += (group * p.filter_channels + row - tap * p.filter_channels) * x.c;
  out_backprop += channel * dy.c;
  Range inside = {0, p.out_width};
  while (inside.begin < inside.end && inside.begin * p.stride_width + left < 0) ++inside.begin;
  while (inside.end > inside.begin && (inside.end - 1) * p.stride_width + left >= p.in_width) --inside.end;
  Accumulator<T> total = 0;
  for (int64_t n = 0; n < p.batch; ++n) {
    Accumulator<T> image = 0;
    for (int64_t oh = 0; oh < p.out_height; ++oh) {
      const int64_t h = oh * p.stride_height + top;
      if (h < 0 || h >= p.in_height) continue;
      const T* x_line = input + n * x.n + h * x.h + left * x.w;
      const T* dy_line = out_backprop + n * dy.n + oh * dy.h;
      for (int64_t begin = inside.begin; begin < inside.end; begin += general::kChain) {
        const int64_t end = begin + general::kChain < inside.end ? begin + general::kChain : inside.end;
        Accumulator<T> chain = 0;
        WGRAD_UNROLL(4)
        for (int64_t ow = begin; ow < end; ++ow) {
          chain += Widen(x_line[ow * p.stride_width * x.w]) * Widen(dy_line[ow * dy.w]);
        }
        image += chain;
      }
      // A NaN stays one. Where dY has overflowed in many places, the first lines show it.
      if (total + image != total + image) return total + image;
    }
    total += image;
  }
  return total;
}

template <typename T>
struct Repair {
  Problem p = {};
  const T* input = nullptr;  // nullptr: nothing can be spoiled
  const T* out_backprop = nullptr;
  T* filter_backprop = nullptr;

  Repair() = default;
  Repair(const Original* original, void* target) : filter_backprop(static_cast<T*>(target)) {
    if (original == nullptr) return;
    p = *original->problem;
    input = static_cast<const T*>(original->input);
    out_backprop = static_cast<const T*>(original->out_backprop);
  }

  // Of `count` elements that the thread itself has written. Called once, after all that a thread writes: where nothing
  // is suspect, the code costs registers at most.
  WGRAD_DEVICE void operator()(int64_t index, int64_t count) const {
    if (input == nullptr) return;
    WGRAD_UNROLL(1)
    for (int64_t i = index; i < index + count; ++i) {
      if (IsSuspect(filter_backprop[i])) filter_backprop[i] = Round<T>(Define(p, input, out_backprop, i));
    }
  }
};

// Of a filter gradient that another library wrote.
template <typename T>
struct RepairKernel {
  struct Shared {};

  static constexpr int kWidth = 16 / sizeof(T);

  Repair<T> repair;
  int64_t size;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(size, kThreads * kWidth); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t first = (block * kThreads + thread) * kWidth;
      if (first >= size) return;
      const int64_t count = first + kWidth <= size ? kWidth : size - first;
      if (count == kWidth && IsSound(*reinterpret_cast<const Pack<T, kWidth>*>(repair.filter_backprop + first))) return;
      repair(first, count);
    });
  }
};

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_REPAIR_H_
