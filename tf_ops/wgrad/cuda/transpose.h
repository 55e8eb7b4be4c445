// [images, rows, columns] -> [images, columns, rows] through 32 x 32 tiles: NCHW -> NHWC with rows = channels and
// columns = height * width.
#ifndef TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
#define TF_OPS_WGRAD_CUDA_TRANSPOSE_H_

#include "tf_ops/wgrad/cuda/index.h"

namespace wgrad::cuda::transpose {

inline constexpr int kTile = 32;
inline constexpr int kThreads = 256;

template <typename T>
struct Shared {
  T tile[kTile][kTile + 1];  // the extra column keeps a column's elements in different banks
};

struct Tile {
  int64_t image, row, column;
};

WGRAD_HOST_DEVICE int64_t Tiles(int64_t images, int64_t rows, int64_t columns) {
  return images * CeilDiv(rows, kTile) * CeilDiv(columns, kTile);
}

WGRAD_HOST_DEVICE Tile TileAt(int64_t rows, int64_t columns, int64_t block) {
  const int64_t column = block % CeilDiv(columns, kTile);
  block /= CeilDiv(columns, kTile);
  return {block / CeilDiv(rows, kTile), block % CeilDiv(rows, kTile) * kTile, column * kTile};
}

template <typename T>
WGRAD_HOST_DEVICE void Load(int64_t rows, int64_t columns, const Tile& tile, const T* source, int thread,
                            Shared<T>* shared) {
  const int64_t column = tile.column + thread % kTile;
  for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
    const int64_t row = tile.row + i;
    if (row < rows && column < columns) {
      shared->tile[i][thread % kTile] = source[(tile.image * rows + row) * columns + column];
    }
  }
}

template <typename T>
WGRAD_HOST_DEVICE void Store(int64_t rows, int64_t columns, const Tile& tile, const Shared<T>& shared, int thread,
                             T* target) {
  const int64_t row = tile.row + thread % kTile;
  for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
    const int64_t column = tile.column + i;
    if (row < rows && column < columns) {
      target[(tile.image * columns + column) * rows + row] = shared.tile[thread % kTile][i];
    }
  }
}

}  // namespace wgrad::cuda::transpose

#endif  // TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
