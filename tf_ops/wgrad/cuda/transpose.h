// [images, rows, columns] -> [images, columns, rows] through 32 x 32 tiles: NCHW -> NHWC with rows = channels and
// columns = height * width.
#ifndef TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
#define TF_OPS_WGRAD_CUDA_TRANSPOSE_H_

#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/launch.h"

namespace wgrad::cuda::transpose {

inline constexpr int kTile = 32;

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
struct Kernel {
  using Shared = transpose::Shared<T>;

  const T* source;
  int64_t images, rows, columns;
  T* target;
  uint8_t* marks;  // of suspect elements, or nullptr

  WGRAD_HOST_DEVICE int64_t Blocks() const { return Tiles(images, rows, columns); }

  WGRAD_DEVICE void Run(int64_t block, Shared* shared) const {
    const Tile tile = TileAt(rows, columns, block);
    ForEachThread([&](int thread) { Load(tile, thread, shared); });
    const bool sound = AllThreads([&](int thread) { return Store(tile, *shared, thread); });
    Mark(marks, block, sound);
  }

 private:
  WGRAD_DEVICE void Load(const Tile& tile, int thread, Shared* shared) const {
    const int64_t column = tile.column + thread % kTile;
    for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
      const int64_t row = tile.row + i;
      if (row < rows && column < columns) {
        shared->tile[i][thread % kTile] = source[(tile.image * rows + row) * columns + column];
      }
    }
  }

  WGRAD_DEVICE bool Store(const Tile& tile, const Shared& shared, int thread) const {
    bool sound = true;
    const int64_t row = tile.row + thread % kTile;
    for (int i = thread / kTile; i < kTile; i += kThreads / kTile) {
      const int64_t column = tile.column + i;
      if (row < rows && column < columns) {
        const T value = shared.tile[thread % kTile][i];
        target[(tile.image * columns + column) * rows + row] = value;
        sound &= !IsSuspect(value);
      }
    }
    return sound;
  }
};

}  // namespace wgrad::cuda::transpose

#endif  // TF_OPS_WGRAD_CUDA_TRANSPOSE_H_
