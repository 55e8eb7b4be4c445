// Winograd's F(3x3, 4x4) for 3 x 3 filters: 36 products for each 4 x 4 tile of dY instead of 144, or 81 for stride 2.
// Sides of a map that are no multiple of 4 are cut into tiles of 4 and of 3 pixels, whose products add up before they
// become taps. A dilated problem falls apart into undilated ones, one for each phase of the pixel grid; they all add to
// the same dW. Groups are multiplied one by one, or in bundles where a group does not fill a vector.
#include "tf_ops/wgrad/cpu/winograd.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/caches.h"
#include "tf_ops/wgrad/cpu/prefetch.h"
#include "tf_ops/wgrad/cpu/streaming.h"
#include "tf_ops/wgrad/cpu/winograd_scratch.h"

namespace wgrad {
namespace {

constexpr int64_t kFilterSide = 3;
// Of the sums' squares over the taps'. The relative error is up to 3.2e-7 times the root of this ratio: 1.4e-6 for 20,
// of the 1.5e-6 allowed. Normal data has 7.5, or 3.5 in tiles of 3 x 3, most data less.
constexpr double kMaxCancellation = 20;
constexpr int64_t kLargestInputTile = TilePoints(kMaxWinogradStride, kLargeSide);

template <typename T>
class Winograd {
 public:
  Winograd(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums,
           const void* zeros, void* filter_backprop)
      : p_(problem),
        plan_(plan.winograd),
        isa_(*plan.isa),
        kernels_(KernelsOf<T>(isa_)),
        transforms_(kernels_.winograd[problem.stride_height - 1]),
        sizes_(SizesOf(plan.winograd, kernels_.lanes)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        sums_(sums),
        zeros_(zeros),
        filter_backprop_(static_cast<char*>(filter_backprop)),
        squares_(plan.tasks) {
    for (int64_t point = 0; point < plan_.tiling.points(); ++point) {
      points_.push_back({point, plan_.tiling.SumOf(point), plan_.tiling.TilesWith(point)});
    }
    std::stable_sort(points_.begin(), points_.end(), [](const Point& a, const Point& b) { return a.sum < b.sum; });
  }

  // Each task transforms its own bundles' channels of its own chunks and multiplies them into its own partial sum.
  void RunChunksPerTask(char* workers, size_t worker_bytes, Executor* executor) const {
    executor->Run(plan_.bundle_tasks * plan_.partial_sums, [&](int64_t task, int worker) {
      T* u = reinterpret_cast<T*>(workers + worker * worker_bytes);
      T* v = u + plan_.bundles_per_task * sizes_.u;
      T* sums = v + plan_.bundles_per_task * sizes_.v;
      T* row_taps = sums + plan_.bundles_per_task * sizes_.sums;
      const int64_t first_bundle = task % plan_.bundle_tasks * plan_.bundles_per_task;
      const int64_t bundles = std::min(plan_.bundles - first_bundle, plan_.bundles_per_task);
      const int64_t partial_sum = task / plan_.bundle_tasks;
      const int64_t first_chunk = partial_sum * plan_.chunks_per_task;
      const int64_t end_chunk = std::min(plan_.chunks, first_chunk + plan_.chunks_per_task);
      for (int64_t chunk = first_chunk; chunk < end_chunk; ++chunk) {
        const Range tiles = ChunkTiles(chunk);
        TransformTiles(tiles.begin, tiles.size(), 0, first_bundle, bundles, u, v);
        std::optional<Lookahead> next_chunk;
        if (chunk + 1 < end_chunk) next_chunk = NextChunk(tiles, ChunkTiles(chunk + 1), bundles);
        for (int64_t i = 0; i < bundles; ++i) {
          Multiply(u + i * sizes_.u, v + i * sizes_.v, tiles, WholeBundle(first_bundle + i), chunk != first_chunk,
                   sums + i * sizes_.sums, &next_chunk, [] {});
        }
      }
      for (int64_t i = 0; i < bundles; ++i) {
        ToTaps(sums + i * sizes_.sums, WholeBundle(first_bundle + i), WriteOnce(),
               plan_.rounded ? row_taps : sums_ + partial_sum * FilterElements(p_), &squares_[task]);
      }
      FenceStreams();
    });
  }

  // All workers transform one chunk, then each multiplies blocks of dW.
  void RunSharedTransforms(T* u, char* workers, size_t worker_bytes, Executor* executor) const {
    T* v = u + plan_.bundles * sizes_.u;
    constexpr int64_t kTilesPerTask = 4;
    const int64_t row_blocks = CeilDiv(plan_.rows, plan_.row_block);
    const int64_t column_blocks = CeilDiv(plan_.columns, plan_.column_block);
    for (int64_t chunk = 0; chunk < plan_.chunks; ++chunk) {
      const Range tiles = ChunkTiles(chunk);
      const int64_t count = tiles.size();
      const Write write = plan_.chunks == 1 ? WriteOnce() : chunk == 0 ? Write::kOver : Write::kAdd;
      executor->Run(CeilDiv(count, kTilesPerTask), [&](int64_t task, int) {
        const int64_t slot = task * kTilesPerTask;
        TransformTiles(tiles.begin + slot, std::min(kTilesPerTask, count - slot), slot, 0, plan_.bundles, u, v);
        FenceStreams();
      });
      executor->Run(plan_.bundles * column_blocks * row_blocks, [&](int64_t task, int worker) {
        T* sums = reinterpret_cast<T*>(workers + worker * worker_bytes);
        const int64_t row = task % row_blocks * plan_.row_block;
        const int64_t column = task / row_blocks % column_blocks * plan_.column_block;
        const int64_t bundle = task / (row_blocks * column_blocks);
        const Block block = {bundle, row, std::min(plan_.rows, row + plan_.row_block), column,
                             std::min(plan_.columns, column + plan_.column_block)};
        // A block's taps lie far apart in dW. Streamed ones are not waited for.
        int64_t offsets[kWinogradTaps * 2 * kWinogradSliceRows];
        Prefetch taps = write == Write::kStreaming ? Prefetch() : Taps(block, tiles, offsets);
        Multiply(u + bundle * sizes_.u, v + bundle * sizes_.v, tiles, block, false, sums, nullptr,
                 [&] { taps.Some(); });
        ToTaps(sums, block, write, plan_.rounded ? sums + sizes_.sums : sums_, &squares_[task]);
        FenceStreams();
      });
    }
  }

  // Whether dW is finite, and not what little is left of products that cancel, with all of their rounding errors. They
  // do where large gradients meet zeros alone, of X or of the padding: a tile multiplies all its gradients by all its
  // pixels.
  bool accurate() const {
    Squares<double> squares = {};
    for (const Squares<double>& of_task : squares_) {
      squares.sums += of_task.sums;
      squares.taps += of_task.taps;
    }
    if (!std::isfinite(squares.taps)) return false;
    // Squares below the smallest normal number are lost.
    const double lost = static_cast<double>(FilterElements(p_)) * plan_.tiling.sums() / kWinogradTaps * plan_.chunks *
                        std::numeric_limits<T>::min();
    if (squares.sums + lost <= kMaxCancellation * squares.taps) return true;
    return squares.taps == 0 && AllZero();
  }

 private:
  // Also those whose squares are.
  bool AllZero() const {
    if (plan_.rounded) {
      const auto* bits = reinterpret_cast<const uint16_t*>(filter_backprop_);
      return std::all_of(bits, bits + FilterElements(p_), [](uint16_t tap) { return (tap & 0x7fff) == 0; });
    }
    return std::all_of(sums_, sums_ + plan_.partial_sums * FilterElements(p_), [](T sum) { return sum == 0; });
  }

  // A block of a bundle's dW: rows are input channels, columns output channels.
  struct Block {
    int64_t bundle, first_row, end_row, first_column, end_column;
  };

  Range ChunkTiles(int64_t chunk) const {
    return {chunk * plan_.chunk_tiles, std::min(plan_.tiles, (chunk + 1) * plan_.chunk_tiles)};
  }

  // A product of some of all tiles, and the sum that it is added to.
  struct Point {
    int64_t index, sum;
    Range tiles;
  };

  Block WholeBundle(int64_t bundle) const { return {bundle, 0, plan_.rows, 0, plan_.columns}; }

  struct TilePixels {
    const void* input[kLargestInputTile * kLargestInputTile];
    const void* out_backprop[kLargeSide * kLargeSide];
  };

  // Transforms `count` tiles of some bundles into the panels' rows from `slot` on, each tile while the next one's
  // pixels are on their way.
  void TransformTiles(int64_t first, int64_t count, int64_t slot, int64_t first_bundle, int64_t bundles, T* u,
                      T* v) const {
    const int dtype = static_cast<int>(p_.dtype);
    const Tiling& tiling = plan_.tiling;
    const int64_t plane_columns = tiling.width.points(tiling.stride);
    const PointPanels u_panels = {kWinogradSliceRows, sizes_.pitch, sizes_.u_plane, plane_columns * sizes_.u_plane};
    const PointPanels v_panels = {PanelWidth(), sizes_.pitch, sizes_.v_plane, plane_columns * sizes_.v_plane};
    const bool shared = plan_.shared_transforms;
    TilePixels buffers[2];
    TilePixels* pixels = &buffers[0];
    TilePixels* next = &buffers[1];
    // What a smaller tile leaves is asked for too, and must be an address.
    std::fill_n(next->input, kLargestInputTile * kLargestInputTile, zeros_);
    std::fill_n(next->out_backprop, kLargeSide * kLargeSide, zeros_);
    *pixels = *next;
    TileKind kind = FindTile(first, pixels);
    for (int64_t i = 0; i < count; ++i) {
      const TileKind next_kind = FindTile(std::min(first + i + 1, plan_.tiles - 1), next);
      const int64_t first_point = (kind.tall ? 0 : tiling.height.large_points(tiling.stride)) * plane_columns +
                                  (kind.wide ? 0 : tiling.width.large_points(tiling.stride));
      for (int64_t j = 0; j < bundles; ++j) {
        transforms_.input[kind.tall][kind.wide][dtype](pixels->input, next->input, (first_bundle + j) * plan_.rows,
                                                       plan_.rows, u_panels, slot + i, shared,
                                                       u + j * sizes_.u + first_point * sizes_.u_plane);
      }
      for (int64_t j = 0; j < bundles; ++j) {
        transforms_.out_backprop[kind.tall][kind.wide][dtype](
            pixels->out_backprop, next->out_backprop, (first_bundle + j) * plan_.columns, plan_.columns, v_panels,
            slot + i, shared, v + j * sizes_.v + first_point * sizes_.v_plane);
      }
      std::swap(pixels, next);
      kind = next_kind;
    }
  }

  TileKind FindTile(int64_t index, TilePixels* pixels) const {
    const Tile tile = plan_.tiling.Find(index);
    const int64_t stride = plan_.tiling.stride;
    const int height = tile.kind.tall ? kLargeSide : kSmallSide, width = tile.kind.wide ? kLargeSide : kSmallSide;
    const int64_t oh = tile.phase_height + tile.row * p_.dilation_height;
    const int64_t ow = tile.phase_width + tile.column * p_.dilation_width;
    FindPixels(TilePoints(stride, height), TilePoints(stride, width), input_, p_.in_height, p_.in_width, p_.in_channels,
               tile.image, oh * stride - p_.pad_top, ow * stride - p_.pad_left, pixels->input);
    FindPixels(height, width, out_backprop_, p_.out_height, p_.out_width, p_.out_channels, tile.image, oh, ow,
               pixels->out_backprop);
    return tile.kind;
  }

  // The channels of the rows x columns pixels from (h, w) on, a dilation apart; zeros outside the image.
  void FindPixels(int64_t rows, int64_t columns, const char* image, int64_t height, int64_t width, int64_t channels,
                  int64_t n, int64_t h, int64_t w, const void** pixels) const {
    const int64_t pixel_bytes = channels * ElementSize(p_.dtype);
    for (int64_t i = 0; i < rows; ++i, h += p_.dilation_height) {
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t column = w + j * p_.dilation_width;
        const bool inside = h >= 0 && h < height && column >= 0 && column < width;
        pixels[i * columns + j] = inside ? image + ((n * height + h) * width + column) * pixel_bytes : zeros_;
      }
    }
  }

  // `tiles` of all tiles, which the panels hold from their first row on. Asks for the next chunk where it is given, and
  // otherwise, point by point, for the next panels.
  template <typename BeforeTile>
  void Multiply(const T* u, const T* v, const Range& tiles, const Block& block, bool accumulate, T* sums,
                std::optional<Lookahead>* next_chunk, const BeforeTile& before_tile) const {
    const int64_t columns = block.end_column - block.first_column;
    int64_t begun_sum = -1;
    for (auto point = points_.begin(); point != points_.end(); ++point) {
      const Range with_point = TilesWith(*point, tiles);
      const bool add = accumulate || point->sum == begun_sum;
      begun_sum = point->sum;
      if (add && with_point.begin == with_point.end) continue;
      const T* a = PanelsOf(u, sizes_.u_plane, *point, block.first_row);
      const T* b = PanelsOf(v, sizes_.v_plane, *point, block.first_column);
      T* sum = sums + point->sum * sizes_.sum_plane;
      std::optional<Lookahead> next_point;
      if (next_chunk == nullptr && point + 1 != points_.end()) {
        next_point = Ahead(PanelsOf(u, sizes_.u_plane, point[1], block.first_row),
                           PanelsOf(v, sizes_.v_plane, point[1], block.first_column), with_point, block);
      }
      for (int64_t row = block.first_row; row < block.end_row; row += kWinogradSliceRows) {
        const int64_t a_stride = PanelStride(plan_.rows - row, kWinogradSliceRows, kernels_.lanes);
        const int64_t rows = std::min(kWinogradSliceRows, block.end_row - row);
        Range run = {with_point.begin, with_point.begin};
        do {  // at least once, for zeros where the chunk has no such tile
          run = {run.end, std::min(with_point.end, run.end + kMaxWinogradRun)};
          MultiplySlice(kernels_, kNotIndexed, run, a, a_stride, rows, PanelsOfB<T>::Packed(b, sizes_.pitch), columns,
                        nullptr, {sum, sizes_.sum_columns, add || run.begin > with_point.begin, true},
                        next_chunk == nullptr ? next_point : *next_chunk, before_tile);
        } while (run.end < with_point.end);
        a += kWinogradSliceRows * sizes_.pitch;
        sum += kWinogradSliceRows * sizes_.sum_columns;
      }
    }
  }

  // The pixels that the next chunk reads and this one has not, rows of images, where a chunk is small enough: 2_3x3
  // gains 8 %, 3_3x3 loses 1 %. Not those of phases, which lie between each other, nor a part of the channels.
  std::optional<Lookahead> NextChunk(const Range& chunk, const Range& next_chunk, int64_t bundles) const {
    if (bundles < plan_.bundles || p_.dilation_height > 1 || p_.dilation_width > 1) return std::nullopt;
    const int64_t panel_bytes = plan_.bundles * (sizes_.u + sizes_.v) * static_cast<int64_t>(sizeof(T));
    if (panel_bytes > SecondLevelBytes() / 2 * 3) return std::nullopt;
    const Tile last = plan_.tiling.Find(chunk.end - 1), next_last = plan_.tiling.Find(next_chunk.end - 1);
    const auto behind = [](const char* first, int64_t pixel_bytes, int64_t begin, int64_t end) {
      return Bytes{first + begin * pixel_bytes, std::max<int64_t>(0, end - begin) * pixel_bytes};
    };
    const int64_t element_size = ElementSize(p_.dtype);
    int64_t asks = 0;
    for (const Point& point : points_) {
      const Range with_point = TilesWith(point, chunk);
      asks += CeilDiv(plan_.rows, kWinogradSliceRows) *
              Asks(kernels_, with_point.size(), std::min(plan_.rows, kWinogradSliceRows), plan_.columns);
    }
    return SpreadEvenly(
        behind(input_, p_.in_channels * element_size, InputPixelsUpTo(last), InputPixelsUpTo(next_last)),
        behind(out_backprop_, p_.out_channels * element_size, OutputPixelsUpTo(last), OutputPixelsUpTo(next_last)),
        bundles * asks);
  }

  // To the end of the lowest row that the tile has or sees.
  int64_t OutputPixelsUpTo(const Tile& tile) const {
    return (tile.image * p_.out_height + std::min(p_.out_height, EndRow(tile))) * p_.out_width;
  }
  int64_t InputPixelsUpTo(const Tile& tile) const {
    const int64_t end_row = (EndRow(tile) - 1) * p_.stride_height + kFilterSide - p_.pad_top;
    return (tile.image * p_.in_height + std::clamp<int64_t>(end_row, 0, p_.in_height)) * p_.in_width;
  }
  static int64_t EndRow(const Tile& tile) { return tile.row + (tile.kind.tall ? kLargeSide : kSmallSide); }

  // Those of a chunk's tiles that have a point, counted from the first one.
  static Range TilesWith(const Point& point, const Range& chunk) {
    const int64_t begin = std::clamp(point.tiles.begin, chunk.begin, chunk.end);
    return {begin - chunk.begin, std::clamp(point.tiles.end, begin, chunk.end) - chunk.begin};
  }

  const T* PanelsOf(const T* transforms, int64_t plane, const Point& point, int64_t first_row) const {
    return transforms + point.index * plane + first_row * sizes_.pitch;
  }

  // The next point's panels, where a chunk's do not stay in the second-level cache: shared transforms of float32 gain 5
  // to 24 %, those of 64 tiles and 128 channels lose 3 %.
  Lookahead Ahead(const T* next_a, const T* next_b, const Range& tiles, const Block& block) const {
    const int64_t rows = block.end_row - block.first_row, columns = block.end_column - block.first_column;
    const int64_t slices = CeilDiv(rows, kWinogradSliceRows);
    const int64_t asks = slices * Asks(kernels_, tiles.size(), std::min(rows, kWinogradSliceRows), columns);
    const int64_t row_bytes = sizes_.pitch * sizeof(T);
    return SpreadEvenly({next_a, rows * row_bytes}, {next_b, columns * row_bytes}, asks);
  }

  // Taps that nothing is added to. 5_3x3 gains 2 % on one thread and 4 on two, 4 groups of 64 channels on 28 x 28
  // pixels 4; in parts of a line they would lose up to 12 %.
  Write WriteOnce() const { return StreamsLines(isa_) && !plan_.rounded ? Write::kStreaming : Write::kOver; }

  // The lines of dW that ToTaps writes, to be asked for while `block` is multiplied.
  Prefetch Taps(const Block& block, const Range& tiles, int64_t* offsets) const {
    const int64_t rows = block.end_row - block.first_row, columns = block.end_column - block.first_column;
    int64_t count = 0;
    for (int64_t row = block.first_row; row < block.end_row; ++row) {
      for (int64_t tap = 0; tap < kWinogradTaps; ++tap) offsets[count++] = TapRow(block, row) + tap * TapStride();
    }
    int64_t runs = 0;
    for (const Point& point : points_) {
      const Range with_point = TilesWith(point, tiles);
      runs += CeilDiv(with_point.size(), kMaxWinogradRun);
    }
    const char* taps = plan_.rounded ? filter_backprop_ : reinterpret_cast<const char*>(sums_);
    const int64_t tap_bytes = plan_.rounded ? ElementSize(p_.dtype) : sizeof(T);
    return Prefetch(taps, offsets, tap_bytes, count, columns * tap_bytes, runs * Tiles(kernels_, rows, columns));
  }

  // `taps` are those of all rows, or of one that is rounded.
  void ToTaps(const T* sums, const Block& block, Write write, T* taps, Squares<double>* squares) const {
    const auto to_taps = transforms_.filter[plan_.tiling.height.large > 0][plan_.tiling.width.large > 0];
    Squares<double> of_block = {};
    for (int64_t row = block.first_row; row < block.end_row; ++row) {
      const Range columns = ColumnsOf(block, row);
      const int64_t first = (row - block.first_row) * sizes_.sum_columns + columns.begin - block.first_column;
      const int64_t tap_stride = plan_.rounded ? sizes_.sum_columns : TapStride();
      T* row_taps = plan_.rounded ? taps : taps + TapRow(block, row);
      const Squares<T> of_row = to_taps(sums + first, sizes_.sum_plane, columns.size(), write, tap_stride, row_taps);
      if (plan_.rounded) RoundTaps(row_taps, columns.size(), TapRow(block, row));
      of_block.sums += of_row.sums;
      of_block.taps += of_row.taps;
    }
    squares->sums += of_block.sums;
    squares->taps += of_block.taps;
  }

  // While they are in the first-level cache: 5_3x3 gains 4 % on one thread and 8 on two, and needs no sums of 9 MB.
  void RoundTaps(const T* row_taps, int64_t columns, int64_t first) const {
    const int64_t element_size = ElementSize(p_.dtype);
    for (int64_t tap = 0; tap < kWinogradTaps; ++tap) {
      kernels_.reduce[static_cast<int>(p_.dtype)](row_taps + tap * sizes_.sum_columns, 0, 1, columns,
                                                  filter_backprop_ + (first + tap * TapStride()) * element_size);
    }
  }

  // The columns of the block that are in the row's own group; the products with others of the bundle mean nothing.
  Range ColumnsOf(const Block& block, int64_t row) const {
    const int64_t filters = plan_.columns / plan_.bundle_groups;
    const int64_t first = row / p_.filter_channels * filters;
    return {std::max(block.first_column, first), std::min(block.end_column, first + filters)};
  }

  // Where ColumnsOf begins in the first tap of dW.
  int64_t TapRow(const Block& block, int64_t row) const {
    return row % p_.filter_channels * p_.out_channels + block.bundle * plan_.columns + ColumnsOf(block, row).begin;
  }

  int64_t TapStride() const { return p_.filter_channels * p_.out_channels; }

  int64_t PanelWidth() const { return kMaxVectors * kernels_.lanes; }

  const Problem& p_;
  const WinogradPlan& plan_;
  const Isa& isa_;
  const Kernels<T>& kernels_;
  const WinogradKernels<T>& transforms_;
  const WinogradSizes sizes_;
  std::vector<Point> points_;  // sum by sum
  const char* input_;
  const char* out_backprop_;
  T* sums_;
  const void* zeros_;
  char* filter_backprop_;
  mutable std::vector<Squares<double>> squares_;  // of each task
};

template <typename T>
bool Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const WinogradPlan& blocking = plan.winograd;
  const WinogradSharedBytes bytes = SharedBytesOf(problem, blocking, KernelsOf<T>(*plan.isa).lanes, sizeof(T));
  char* zeros = shared;
  std::memset(zeros, 0, bytes.zeros);
  T* partial_sums = reinterpret_cast<T*>(zeros + bytes.zeros);
  T* transforms = reinterpret_cast<T*>(zeros + bytes.zeros + bytes.sums);
  T* sums = blocking.in_place ? static_cast<T*>(filter_backprop) : partial_sums;

  const Winograd<T> winograd(problem, plan, input, out_backprop, sums, zeros, filter_backprop);
  if (blocking.shared_transforms) {
    winograd.RunSharedTransforms(transforms, workers, plan.worker_bytes, executor);
  } else {
    winograd.RunChunksPerTask(workers, plan.worker_bytes, executor);
  }
  if (!blocking.in_place && !blocking.rounded) {
    const SumLayout layout = {kWinogradTaps * problem.filter_channels, 1, problem.out_channels, problem.out_channels};
    ReducePartialSums(KernelsOf<T>(*plan.isa), problem.dtype, layout, partial_sums, blocking.partial_sums,
                      filter_backprop, executor);
  }
  return winograd.accurate();
}

}  // namespace

bool RunWinograd(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                 void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  return run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
