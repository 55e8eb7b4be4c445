// Winograd's F(3x3, 4x4) for 3 x 3 filters: 36 products for each 4 x 4 tile of dY instead of 144, or 81 for stride 2. A
// dilated problem falls apart into undilated ones, one for each phase of the pixel grid; they all add to the same dW.
#include "tf_ops/wgrad/cpu/winograd.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/prefetch.h"

namespace wgrad {
namespace {

constexpr int64_t kTaps = 9;
// Longer runs of the float32 sums cost accuracy: 128 tiles give 1.5 times the error of 64.
constexpr int64_t kMaxRun = 64;
constexpr int64_t kOutputTile = 4;
// Rows of one packed slice of A, as whole cache lines.
constexpr int64_t kSliceRows = 16;

// A tile of X has as many pixels as there are products.
constexpr int64_t InputTile(int64_t stride) { return 3 + 3 * stride; }
constexpr int64_t Products(int64_t stride) { return InputTile(stride) * InputTile(stride); }

// Where the parts of the scratch memory lie, in elements of the accumulator; one chunk's transforms and one block's
// products.
struct Sizes {
  int64_t pitch;  // tiles, odd so that the panels start in different cache sets
  int64_t u_plane, v_plane;
  int64_t product_columns, product_plane;
  int64_t transforms, products;
};

Sizes SizesOf(const Problem& p, const WinogradPlan& plan, int64_t lanes) {
  Sizes s;
  s.pitch = plan.chunk_tiles | 1;
  s.u_plane = s.pitch * RoundUp(p.in_channels, lanes);
  s.v_plane = s.pitch * RoundUp(p.out_channels, lanes);
  s.product_columns = RoundUp(plan.column_block, lanes);
  // One line more, so that the sums of an element do not share a cache set.
  s.product_plane = RoundUp(plan.row_block * s.product_columns, kSliceRows) + kSliceRows;
  s.transforms = plan.products * (s.u_plane + s.v_plane);
  s.products = plan.products * s.product_plane;
  return s;
}

template <typename T>
class Winograd {
 public:
  Winograd(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums,
           const void* zeros, const int32_t* b_rows)
      : p_(problem),
        plan_(plan.winograd),
        kernels_(KernelsOf<T>(*plan.isa)),
        transforms_(kernels_.winograd[problem.stride_height]),
        sizes_(SizesOf(problem, plan.winograd, kernels_.lanes)),
        input_(static_cast<const char*>(input)),
        out_backprop_(static_cast<const char*>(out_backprop)),
        sums_(sums),
        zeros_(zeros),
        b_rows_(b_rows) {}

  // Each task transforms its own chunks and multiplies them into all of its own partial sum.
  void RunChunksPerTask(char* workers, size_t worker_bytes, Executor* executor) const {
    executor->Run(plan_.partial_sums, [&](int64_t task, int worker) {
      T* u = reinterpret_cast<T*>(workers + worker * worker_bytes);
      T* v = u + plan_.products * sizes_.u_plane;
      T* products = v + plan_.products * sizes_.v_plane;
      const int64_t first_chunk = task * plan_.chunks_per_task;
      const int64_t end_chunk = std::min(plan_.chunks, first_chunk + plan_.chunks_per_task);
      for (int64_t chunk = first_chunk; chunk < end_chunk; ++chunk) {
        const int64_t first = chunk * plan_.chunk_tiles;
        const int64_t tiles = std::min(plan_.tiles - first, plan_.chunk_tiles);
        TransformTiles(first, tiles, 0, u, v);
        Multiply(u, v, tiles, Block{0, p_.in_channels, 0, p_.out_channels}, chunk != first_chunk, products, [] {});
      }
      ToTaps(products, Block{0, p_.in_channels, 0, p_.out_channels}, false,
             sums_ + task * kTaps * p_.in_channels * p_.out_channels);
    });
  }

  // All workers transform one chunk, then each multiplies blocks of dW.
  void RunSharedTransforms(T* u, char* workers, size_t worker_bytes, Executor* executor) const {
    T* v = u + plan_.products * sizes_.u_plane;
    constexpr int64_t kTilesPerTask = 4;
    const int64_t row_blocks = CeilDiv(p_.in_channels, plan_.row_block);
    const int64_t column_blocks = CeilDiv(p_.out_channels, plan_.column_block);
    for (int64_t chunk = 0; chunk < plan_.chunks; ++chunk) {
      const int64_t first = chunk * plan_.chunk_tiles;
      const int64_t tiles = std::min(plan_.tiles - first, plan_.chunk_tiles);
      executor->Run(CeilDiv(tiles, kTilesPerTask), [&](int64_t task, int) {
        const int64_t slot = task * kTilesPerTask;
        TransformTiles(first + slot, std::min(kTilesPerTask, tiles - slot), slot, u, v);
      });
      executor->Run(row_blocks * column_blocks, [&](int64_t task, int worker) {
        T* products = reinterpret_cast<T*>(workers + worker * worker_bytes);
        const int64_t row = task % row_blocks * plan_.row_block, column = task / row_blocks * plan_.column_block;
        const Block block = {row, std::min(p_.in_channels, row + plan_.row_block), column,
                             std::min(p_.out_channels, column + plan_.column_block)};
        // A block's taps lie far apart in dW.
        int64_t offsets[kTaps * 2 * kSliceRows];
        Prefetch taps = Taps(block, tiles, offsets);
        Multiply(u, v, tiles, block, false, products, [&] { taps.Some(); });
        ToTaps(products, block, chunk != 0, sums_);
      });
    }
  }

  bool finite() const { return finite_; }

 private:
  // A block of dW: rows are input channels, columns output channels.
  struct Block {
    int64_t first_row, end_row, first_column, end_column;
  };

  struct TilePixels {
    const void* input[Products(kMaxWinogradStride)];
    const void* out_backprop[kOutputTile * kOutputTile];
  };

  // Transforms `count` tiles into the first rows of the panels, each tile while the next one's pixels are on their way.
  void TransformTiles(int64_t first, int64_t count, int64_t slot, T* u, T* v) const {
    const int dtype = static_cast<int>(p_.dtype);
    TilePixels buffers[2];
    TilePixels* pixels = &buffers[0];
    TilePixels* next = &buffers[1];
    FindTile(first, pixels);
    for (int64_t i = 0; i < count; ++i) {
      FindTile(std::min(first + i + 1, plan_.tiles - 1), next);
      transforms_.input[dtype](pixels->input, next->input, p_.in_channels, kSliceRows, sizes_.pitch, slot + i,
                               sizes_.u_plane, u);
      transforms_.out_backprop[dtype](pixels->out_backprop, next->out_backprop, p_.out_channels, PanelWidth(),
                                      sizes_.pitch, slot + i, sizes_.v_plane, v);
      std::swap(pixels, next);
    }
  }

  void FindTile(int64_t tile, TilePixels* pixels) const {
    const int64_t tw = tile % plan_.tiles_width;
    const int64_t th = (tile /= plan_.tiles_width) % plan_.tiles_height;
    const int64_t phase_w = (tile /= plan_.tiles_height) % plan_.phases_width;
    const int64_t phase_h = (tile /= plan_.phases_width) % plan_.phases_height;
    const int64_t n = tile / plan_.phases_height;
    const int64_t oh = phase_h + th * kOutputTile * p_.dilation_height;
    const int64_t ow = phase_w + tw * kOutputTile * p_.dilation_width;
    FindPixels(InputTile(p_.stride_height), input_, p_.in_height, p_.in_width, p_.in_channels, n,
               oh * p_.stride_height - p_.pad_top, ow * p_.stride_width - p_.pad_left, pixels->input);
    FindPixels(kOutputTile, out_backprop_, p_.out_height, p_.out_width, p_.out_channels, n, oh, ow,
               pixels->out_backprop);
  }

  // The channels of the tile x tile pixels from (h, w) on, a dilation apart; zeros outside the image.
  void FindPixels(int64_t tile, const char* image, int64_t height, int64_t width, int64_t channels, int64_t n,
                  int64_t h, int64_t w, const void** pixels) const {
    const int64_t pixel_bytes = channels * ElementSize(p_.dtype);
    for (int64_t i = 0; i < tile; ++i, h += p_.dilation_height) {
      for (int64_t j = 0; j < tile; ++j) {
        const int64_t column = w + j * p_.dilation_width;
        const bool inside = h >= 0 && h < height && column >= 0 && column < width;
        pixels[i * tile + j] = inside ? image + ((n * height + h) * width + column) * pixel_bytes : zeros_;
      }
    }
  }

  template <typename BeforeTile>
  void Multiply(const T* u, const T* v, int64_t tiles, const Block& block, bool accumulate, T* products,
                const BeforeTile& before_tile) const {
    for (int64_t point = 0; point < plan_.products; ++point) {
      const T* a = u + point * sizes_.u_plane;
      const T* b = v + point * sizes_.v_plane;
      T* product = products + point * sizes_.product_plane;
      for (int64_t row = block.first_row; row < block.end_row; row += kSliceRows) {
        const int64_t a_stride = PanelStride(p_.in_channels - row, kSliceRows, kernels_.lanes);
        const int64_t rows = std::min(kSliceRows, block.end_row - row);
        T* sums = product + (row - block.first_row) * sizes_.product_columns;
        for (int64_t tile = 0; tile < tiles; tile += kMaxRun) {
          MultiplySlice(kernels_, kIndexedB, std::min(kMaxRun, tiles - tile), a + row * sizes_.pitch + tile * a_stride,
                        a_stride, rows, b + block.first_column * sizes_.pitch, sizes_.pitch,
                        block.end_column - block.first_column, b_rows_ + tile, sums, sizes_.product_columns,
                        accumulate || tile > 0, before_tile);
        }
      }
    }
  }

  // The lines of dW that ToTaps writes, to be asked for while `block` is multiplied.
  Prefetch Taps(const Block& block, int64_t tiles, int64_t* offsets) const {
    const int64_t rows = block.end_row - block.first_row, columns = block.end_column - block.first_column;
    int64_t count = 0;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t tap = 0; tap < kTaps; ++tap) offsets[count++] = (tap * p_.in_channels + row) * p_.out_channels;
    }
    const T* first = sums_ + block.first_row * p_.out_channels + block.first_column;
    return Prefetch(reinterpret_cast<const char*>(first), offsets, sizeof(T), count, columns * sizeof(T),
                    plan_.products * CeilDiv(tiles, kMaxRun) * Tiles(kernels_, rows, columns));
  }

  void ToTaps(const T* products, const Block& block, bool accumulate, T* taps) const {
    for (int64_t row = block.first_row; row < block.end_row; ++row) {
      const bool finite =
          transforms_.filter(products + (row - block.first_row) * sizes_.product_columns, sizes_.product_plane,
                             block.end_column - block.first_column, accumulate, p_.in_channels * p_.out_channels,
                             taps + row * p_.out_channels + block.first_column);
      if (!finite) finite_.store(false, std::memory_order_relaxed);
    }
  }

  int64_t PanelWidth() const { return kMaxVectors * kernels_.lanes; }

  const Problem& p_;
  const WinogradPlan& plan_;
  const Kernels<T>& kernels_;
  const WinogradKernels<T>& transforms_;
  const Sizes sizes_;
  const char* input_;
  const char* out_backprop_;
  T* sums_;
  const void* zeros_;
  const int32_t* b_rows_;
  mutable std::atomic<bool> finite_{true};
};

// The parts of the shared scratch memory.
struct SharedBytes {
  int64_t zeros, b_rows, sums, transforms;
  int64_t total() const { return zeros + b_rows + sums + transforms; }
};

SharedBytes SharedBytesOf(const Problem& p, const WinogradPlan& plan, int64_t lanes, int64_t sum_size) {
  SharedBytes bytes;
  bytes.zeros = AlignedBytes(std::max(p.in_channels, p.out_channels) * sum_size);
  bytes.b_rows = AlignedBytes(plan.chunk_tiles * sizeof(int32_t));
  bytes.sums = plan.in_place ? 0 : AlignedBytes(plan.partial_sums * FilterElements(p) * sum_size);
  bytes.transforms = plan.shared_transforms ? AlignedBytes(SizesOf(p, plan, lanes).transforms * sum_size) : 0;
  return bytes;
}

template <typename T>
bool Run(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, void* filter_backprop,
         char* shared, char* workers, Executor* executor) {
  const WinogradPlan& blocking = plan.winograd;
  const SharedBytes bytes = SharedBytesOf(problem, blocking, KernelsOf<T>(*plan.isa).lanes, sizeof(T));
  char* zeros = shared;
  std::memset(zeros, 0, bytes.zeros);
  int32_t* b_rows = reinterpret_cast<int32_t*>(zeros + bytes.zeros);
  for (int64_t i = 0; i < blocking.chunk_tiles; ++i) b_rows[i] = static_cast<int32_t>(i);
  T* partial_sums = reinterpret_cast<T*>(zeros + bytes.zeros + bytes.b_rows);
  T* transforms = reinterpret_cast<T*>(zeros + bytes.zeros + bytes.b_rows + bytes.sums);
  T* sums = blocking.in_place ? static_cast<T*>(filter_backprop) : partial_sums;

  const Winograd<T> winograd(problem, plan, input, out_backprop, sums, zeros, b_rows);
  if (blocking.shared_transforms) {
    winograd.RunSharedTransforms(transforms, workers, plan.worker_bytes, executor);
  } else {
    winograd.RunChunksPerTask(workers, plan.worker_bytes, executor);
  }
  if (!blocking.in_place) {
    const SumLayout layout = {kTaps * problem.in_channels, 1, problem.out_channels, problem.out_channels};
    ReducePartialSums(KernelsOf<T>(*plan.isa), problem.dtype, layout, partial_sums, blocking.partial_sums,
                      filter_backprop, executor);
  }
  return winograd.finite();
}

}  // namespace

void PlanWinograd(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t sum_size = SumSize(p.dtype), lanes = Lanes(p.dtype, isa);
  WinogradPlan& w = plan->winograd;
  w.products = Products(p.stride_height);
  w.phases_height = std::min(p.dilation_height, p.out_height);
  w.phases_width = std::min(p.dilation_width, p.out_width);
  w.tiles_height = CeilDiv(CeilDiv(p.out_height, p.dilation_height), kOutputTile);
  w.tiles_width = CeilDiv(CeilDiv(p.out_width, p.dilation_width), kOutputTile);
  w.tiles = p.batch * w.phases_height * w.phases_width * w.tiles_height * w.tiles_width;

  // A worker can hold the 36 products of up to 128 x 128 channels itself, or the 81 of 90 x 90.
  constexpr int64_t kProductBytes = 5 << 19, kPartialBytes = 4 << 20, kTransformBytes = 12 << 20;
  w.shared_transforms = w.products * p.in_channels * p.out_channels * sum_size > kProductBytes ||
                        w.products * (kMaxRun + 1) * (p.in_channels + p.out_channels) * sum_size > kTransformBytes;
  int64_t max_chunk = kMaxRun;
  if (w.shared_transforms) {
    max_chunk = std::clamp<int64_t>(kTransformBytes / (w.products * (p.in_channels + p.out_channels) * sum_size), 1,
                                    2 * kMaxRun);
  }
  w.chunk_tiles = CeilDiv(w.tiles, CeilDiv(w.tiles, max_chunk));
  w.chunks = CeilDiv(w.tiles, w.chunk_tiles);
  if (w.shared_transforms) {
    // 36 products of 32 x 48 floats are 216 KiB, within the second-level cache beside one point's panels. 81 are not,
    // but with half as many rows stride 2 is 3 % slower, because every block of rows reads all panels of dY.
    w.row_block = 2 * kSliceRows;
    w.column_block = 2 * kMaxVectors * lanes;
    w.partial_sums = 1;
    w.chunks_per_task = w.chunks;
  } else {
    w.row_block = p.in_channels;
    w.column_block = p.out_channels;
    constexpr int64_t kMaxTasks = 16;
    const int64_t affordable = std::max<int64_t>(1, kPartialBytes / (FilterElements(p) * sum_size));
    w.chunks_per_task = CeilDiv(w.chunks, std::min(kMaxTasks, affordable));
    w.partial_sums = CeilDiv(w.chunks, w.chunks_per_task);
  }
  w.in_place = w.partial_sums == 1 && SumsInItsType(p.dtype);

  plan->tasks = w.shared_transforms ? CeilDiv(p.in_channels, w.row_block) * CeilDiv(p.out_channels, w.column_block)
                                    : w.partial_sums;
  const Sizes sizes = SizesOf(p, w, lanes);
  plan->shared_bytes = SharedBytesOf(p, w, lanes, sum_size).total();
  plan->worker_bytes = AlignedBytes((sizes.products + (w.shared_transforms ? 0 : sizes.transforms)) * sum_size);
}

bool RunWinograd(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                 void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const auto run = problem.dtype == DataType::kFloat64 ? Run<double> : Run<float>;
  return run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
