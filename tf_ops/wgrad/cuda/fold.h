// X with few channels: a copy has those of all taps in a row of the filter side by side, [images][rows of X][columns of
// dY][taps][channels], and its filter has one column. A pixel of the copy is a multiple of 16 bytes, filled up with
// zeros, which the widest loads ask for.
#ifndef TF_OPS_WGRAD_CUDA_FOLD_H_
#define TF_OPS_WGRAD_CUDA_FOLD_H_

#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/instances.h"
#include "tf_ops/wgrad/cuda/launch.h"
#include "tf_ops/wgrad/cuda/pack.h"

namespace wgrad::cuda::fold {

// Elements that the taps of a row may fill: they share what one instruction of Hopper's multiplies.
inline constexpr int64_t kMostElements = 64;

// Whether it makes wide loads possible, and the taps of a row are few enough.
inline bool Applies(const Problem& p, const Instance& instance) {
  return instance.alignment * ElementSize(p.dtype) == 16 && p.filter_channels % instance.alignment != 0 &&
         p.groups == 1 && p.filter_width > 1 && p.dilation_width == 1 &&
         p.filter_width * p.filter_channels <= kMostElements &&
         2 * p.filter_width * p.filter_channels >= instance.alignment;  // a pixel of the copy is not mostly zeros
}

// The problem of the copy, or `p` itself. The wgmma kernel leaves out what a pixel is filled up with.
inline Problem Seen(const Problem& p, const Instance& instance) {
  if (!Applies(p, instance)) return p;
  Problem folded = p;
  const int64_t taps = p.filter_width * p.filter_channels;
  folded.in_channels = RoundUp(taps, instance.alignment);
  folded.filter_channels = IsWgmma(instance) ? taps : folded.in_channels;
  folded.in_width = p.out_width;
  folded.filter_width = folded.stride_width = 1;
  folded.pad_left = 0;
  return folded;
}

template <typename T>
struct Kernel {
  struct Shared {};

  static constexpr int kWidth = 16 / sizeof(T);

  const T* source;
  int64_t image_rows, row_elements;  // of X: rows of all images, elements in one
  int64_t columns, step, padding;    // of dY; elements from one window to the next, and of zeros before the first
  int64_t taps, packs;               // elements of a pixel, and packs that they fill
  Pack<T, kWidth>* target;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return CeilDiv(image_rows * columns * packs, kThreads); }

  WGRAD_DEVICE void Run(int64_t block, Shared*) const {
    ForEachThread([&](int thread) {
      const int64_t index = block * kThreads + thread;
      const int64_t pixel = index / packs;
      const int64_t row = pixel / columns;
      if (row >= image_rows) return;
      const int64_t tap = (index - pixel * packs) * kWidth;
      const int64_t element = (pixel - row * columns) * step - padding + tap;
      Pack<T, kWidth> pack;
      WGRAD_UNROLL(kWidth)
      for (int i = 0; i < kWidth; ++i) {
        const bool inside = tap + i < taps && element + i >= 0 && element + i < row_elements;
        pack.values[i] = inside ? source[row * row_elements + element + i] : T(0);
      }
      target[index] = pack;
    });
  }
};

}  // namespace wgrad::cuda::fold

#endif  // TF_OPS_WGRAD_CUDA_FOLD_H_
