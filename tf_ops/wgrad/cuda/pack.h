// Several elements that lie beside each other, loaded and stored at once.
#ifndef TF_OPS_WGRAD_CUDA_PACK_H_
#define TF_OPS_WGRAD_CUDA_PACK_H_

#include "tf_ops/wgrad/cuda/element.h"

namespace wgrad::cuda {

template <typename A, int width>
struct alignas(sizeof(A) * width) Pack {
  A values[width];

  WGRAD_DEVICE void operator+=(const Pack& other) {
    WGRAD_UNROLL(width)
    for (int i = 0; i < width; ++i) values[i] += other.values[i];
  }
};

template <typename T, int width>
WGRAD_DEVICE Pack<T, width> Round(const Pack<Accumulator<T>, width>& sums) {
  Pack<T, width> rounded;
  WGRAD_UNROLL(width)
  for (int i = 0; i < width; ++i) rounded.values[i] = Round<T>(sums.values[i]);
  return rounded;
}

template <typename T, int width>
WGRAD_DEVICE bool IsSound(const Pack<T, width>& values) {
  bool sound = true;
  WGRAD_UNROLL(width)
  for (int i = 0; i < width; ++i) sound &= !IsSuspect(values.values[i]);
  return sound;
}

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_PACK_H_
