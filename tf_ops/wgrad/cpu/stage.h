// Pixels of 16 bits, staged for the kernels that multiply where X and dY lie: copied once, in the same order, to
// elements of 32 bits, each one value widened or the two of a pair.
#ifndef TF_OPS_WGRAD_CPU_STAGE_H_
#define TF_OPS_WGRAD_CPU_STAGE_H_

#include <cstdint>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/kernels.h"

namespace wgrad {

template <typename T>
class Stage {
 public:
  Stage(const Kernels<T>& kernels, DataType dtype, bool bf16_pairs)
      : pack_(kernels.pack[static_cast<int>(dtype)]), values_(PixelsPerRow(bf16_pairs)) {}

  // Of `elements` elements from `first` on; or the pairs of them and as many from `second` on, which is negative where
  // they are zeros.
  void Copy(const void* source, int64_t first, int64_t second, int64_t elements, T* to) const {
    if (elements == 0) return;  // a strip may see nothing but padding
    const int64_t offsets[2] = {first, second};
    pack_(source, offsets, values_, elements, elements, 1, 0, to);
  }

 private:
  PackRows<T> pack_;
  int64_t values_;  // of an element
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_STAGE_H_
