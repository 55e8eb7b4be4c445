// [images, rows, columns] -> [images, columns, rows] through square tiles: NCHW -> NHWC with rows = channels and
// columns = height * width, and KRSC -> HWIO.
#ifndef TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
#define TF_OPS_WGRAD_CUDA_TRANSPOSE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"
#include "tf_ops/wgrad/cuda/pack.h"
#include "tf_ops/wgrad/cuda/repair.h"

namespace wgrad::cuda::transpose {

// A thread loads and stores `width` elements at once, of which rows and columns are multiples.
template <typename T, int width>
struct Kernel {
  static constexpr int kTile = width == 1 ? 32 : 64;
  static constexpr int kPacks = kTile / width;  // side by side in a tile

  struct Shared {
    T tile[kTile][kTile + 1];  // the extra column keeps a column's elements in different banks
  };

  const T* source;
  int64_t images, rows, columns;
  T* target;
  Repair<T> repair;

  WGRAD_HOST_DEVICE int64_t Blocks() const { return images * CeilDiv(rows, kTile) * CeilDiv(columns, kTile); }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const int64_t first_column = block % CeilDiv(columns, kTile) * kTile;
    block /= CeilDiv(columns, kTile);
    const int64_t first_row = block % CeilDiv(rows, kTile) * kTile;
    const int64_t image = block / CeilDiv(rows, kTile);
    ForEachThread([&](int thread) {
      const int pack = thread % kPacks * width;
      WGRAD_UNROLL(kTile * kPacks / kThreads)
      for (int i = thread / kPacks; i < kTile; i += kThreads / kPacks) {
        if (first_row + i >= rows || first_column + pack >= columns) continue;
        const int64_t index = (image * rows + first_row + i) * columns + first_column + pack;
        const auto values = *reinterpret_cast<const Pack<T, width>*>(source + index);
        WGRAD_UNROLL(width)
        for (int j = 0; j < width; ++j) shared->tile[i][pack + j] = values.values[j];
      }
    });
    const auto visit = [&](int thread, auto visitor) {
      const int pack = thread % kPacks * width;
      for (int i = thread / kPacks; i < kTile; i += kThreads / kPacks) {
        if (first_column + i >= columns || first_row + pack >= rows) continue;
        visitor(pack, i, (image * columns + first_column + i) * rows + first_row + pack);
      }
    };
    ForEachThread([&](int thread) {
      bool sound = true;
      visit(thread, [&](int pack, int column, int64_t index) {
        Pack<T, width> values;
        WGRAD_UNROLL(width)
        for (int j = 0; j < width; ++j) values.values[j] = shared->tile[pack + j][column];
        *reinterpret_cast<Pack<T, width>*>(target + index) = values;
        sound &= IsSound(values);
      });
      if (!sound) visit(thread, [&](int, int, int64_t index) { repair(index, width); });
    });
  }
};

}  // namespace wgrad::cuda::transpose

#endif  // TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
