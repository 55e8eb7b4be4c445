// How Winograd's algorithm cuts the output map into tiles, and the order in which it takes them.
#ifndef TF_OPS_WGRAD_CPU_WINOGRAD_TILES_H_
#define TF_OPS_WGRAD_CPU_WINOGRAD_TILES_H_

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/ranges.h"

namespace wgrad {

// One dimension of the map: tiles of kLargeSide pixels, then tiles of kSmallSide, the last of which may reach beyond
// the map. A tile takes a product for each of its pixels and two more, or with stride 2 two for each and one more: as
// few tiles as possible are best, and of them as many small ones as still cover the map. 14 pixels take 22 products as
// 4 + 4 + 3 + 3, and 24 in four tiles of 4.
struct TileCut {
  int64_t large, small;

  int64_t tiles(bool large_side) const { return large_side ? large : small; }
  int64_t FirstPixel(bool large_side, int64_t tile) const {
    return large_side ? kLargeSide * tile : kLargeSide * large + kSmallSide * tile;
  }
  int64_t points(int64_t stride) const { return TilePoints(stride, large > 0 ? kLargeSide : kSmallSide); }
  // Points that only the large tiles have, which come first.
  int64_t large_points(int64_t stride) const { return points(stride) - TilePoints(stride, kSmallSide); }
  int64_t sums() const { return TileSums(large > 0 ? kLargeSide : kSmallSide); }
  // To which sum a point's products are added. Points of the odd pixels of X are the first of the large tiles' own ones
  // and those behind the points +-2/3 and +-3/2; with stride 1 there are none.
  int64_t SumOf(int64_t stride, int64_t point) const {
    const int64_t first_even = large_points(stride) / 2;
    const bool odd = point < first_even || point >= first_even + sums() - 1;
    return stride == 2 && odd ? sums() - 1 : point - first_even;
  }
  // Of all tiles.
  int64_t products(int64_t stride) const {
    return large * TilePoints(stride, kLargeSide) + small * TilePoints(stride, kSmallSide);
  }
};

inline TileCut CutIntoTiles(int64_t pixels) {
  const int64_t tiles = CeilDiv(pixels, kLargeSide);
  const int64_t small = std::min(tiles, kLargeSide * tiles - pixels);
  return {tiles - small, small};
}

// Whether a tile has kLargeSide pixels in its height and in its width.
struct TileKind {
  bool tall, wide;
};

// In an order in which the tiles that have a point follow each other, whichever it is.
inline constexpr TileKind kTileKinds[] = {{true, false}, {true, true}, {false, true}, {false, false}};
inline constexpr int kTileKindCount = std::size(kTileKinds);

struct Tile {
  TileKind kind;
  int64_t image, phase_height, phase_width;
  int64_t row, column;  // of its first pixel, in the phase's own map
};

// The tiles of all images, and of all phases of a dilated problem, kind by kind.
struct Tiling {
  int64_t stride;
  int64_t images, phases_height, phases_width;
  TileCut height, width;  // of one phase of one image

  int64_t phases() const { return images * phases_height * phases_width; }
  int64_t points() const { return height.points(stride) * width.points(stride); }
  int64_t sums() const { return height.sums() * width.sums(); }
  int64_t SumOf(int64_t point) const {
    const int64_t columns = width.points(stride);
    return height.SumOf(stride, point / columns) * width.sums() + width.SumOf(stride, point % columns);
  }
  int64_t products() const { return phases() * height.products(stride) * width.products(stride); }
  int64_t tiles() const { return End(kTileKindCount - 1); }

  Tile Find(int64_t tile) const {
    int kind = 0;
    while (tile >= End(kind)) ++kind;
    tile -= Begin(kind);
    const auto [tall, wide] = kTileKinds[kind];
    const int64_t column = width.FirstPixel(wide, tile % width.tiles(wide));
    tile /= width.tiles(wide);
    const int64_t row = height.FirstPixel(tall, tile % height.tiles(tall));
    tile /= height.tiles(tall);
    const int64_t phase_width = tile % phases_width;
    tile /= phases_width;
    return {kTileKinds[kind], tile / phases_height, tile % phases_height, phase_width, row, column};
  }

  // The tiles that have a point.
  Range TilesWith(int64_t point) const {
    const int64_t columns = width.points(stride);
    const bool tall = point / columns < height.large_points(stride);
    const bool wide = point % columns < width.large_points(stride);
    return {Begin(wide ? 1 : 0), End(tall ? 1 : wide ? 2 : 3)};
  }

 private:
  int64_t Begin(int kind) const { return kind == 0 ? 0 : End(kind - 1); }
  int64_t End(int kind) const {
    int64_t end = 0;
    for (int k = 0; k <= kind; ++k) end += height.tiles(kTileKinds[k].tall) * width.tiles(kTileKinds[k].wide);
    return phases() * end;
  }
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_WINOGRAD_TILES_H_
