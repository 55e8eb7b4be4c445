// The functions that are compiled once per instruction set, as one table that the algorithms call through.
#ifndef TF_OPS_WGRAD_CPU_KERNELS_H_
#define TF_OPS_WGRAD_CPU_KERNELS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tf_ops/wgrad/problem.h"

namespace wgrad {

inline constexpr int64_t kCacheLine = 64;  // bytes

inline constexpr int kWideVectorBytes = 64;   // of AVX-512
inline constexpr int kLeastSharedBytes = 32;  // of vectors that groups share: SSE has no instruction that permutes them

// Which operand of a product is taken through a list, for each pixel where its row is: in elements of A, in rows of B.
enum Indexed { kNotIndexed, kIndexedA, kIndexedB };

// What a micro-kernel asks for while it multiplies: with every Kernels::lookahead_pixels pixels the line at `next` of
// each stream, `step` bytes behind the one before. Asked for in bursts, between the tiles, lines that are far away take
// all of the line buffers for so long that the operands, which come from the second-level cache, wait for one.
struct Lookahead {
  struct Stream {
    const char* next;
    int64_t step;
  };
  Stream streams[2];
};

// As Lookahead, of runs of memory: behind what is left of one, `gap` bytes are left out.
struct RunLookahead {
  struct Stream {
    const char* next;
    int64_t step;
    const char* run_end;
    int64_t gap;
    int64_t stride;  // from run to run

    void Ask() {
      __builtin_prefetch(next);
      next += step;
      if (next >= run_end) {
        next += gap;
        run_end += stride;
      }
    }
  };
  Stream streams[2];
};

// Rows of dW, or of a partial sum of it.
template <typename T>
struct Sums {
  T* first;
  int64_t stride;   // from row to row, in elements
  bool accumulate;  // add to what is there
  bool in_cache;    // otherwise a tile is asked for while it is multiplied

  Sums From(int64_t row, int64_t column) const { return {first + row * stride + column, stride, accumulate, in_cache}; }
};

// Adds A^T B to, or stores it in, a tile of `rows` x (vectors * lanes):
//   tile[i][j] += sum over p in [0, depth) of a[ap + i] * b[bp * b_stride + j],
// where ap is p * a_stride, or index[p], and bp is p, or index[p]. Moves `lookahead` on, where it is given.
template <typename T>
using MicroKernel = void (*)(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride,
                             const int32_t* index, const Sums<T>& tile, Lookahead* lookahead);

// Packs `count` rows of `width` elements, each at source + offsets[p], widened to T, into panels of panel_width
// columns: panel k starts at to + k * panel_width * pitch, and its rows follow each other densely. The last panel may
// be narrower; its rows are PanelStride apart, zeros behind the last column. An odd pitch >= count keeps the panels
// from sharing cache sets.
template <typename T>
using PackRows = void (*)(const void* source, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                          int64_t pitch, int64_t slot, T* to);

inline int64_t PanelStride(int64_t columns, int64_t panel_width, int64_t lanes) {
  return std::min(panel_width, (columns + lanes - 1) / lanes * lanes);
}

// to[i] = the sum over s of partial[s * slice_stride + i], in the order of s, rounded to the result's type. Whether all
// were finite before they were rounded.
template <typename T>
using ReduceSlices = bool (*)(const T* partial, int64_t slice_stride, int64_t slices, int64_t count, void* to);

// Pixels of dY along a side of Winograd's tiles; how many products a side takes, as many as it has pixels of X; and to
// how many sums they add, because with stride 2 those of the odd pixels of X belong together.
inline constexpr int kSmallSide = 3, kLargeSide = 4;
constexpr int TilePoints(int64_t stride, int side) { return (side - 1) * static_cast<int>(stride) + 3; }
constexpr int TileSums(int side) { return side + 2; }
inline constexpr int kMaxWinogradStride = 2;

// Where the transforms of tiles lie: a plane of elements for each point, laid out as PackRows lays out its panels, and
// a row of planes for each row of points.
struct PointPanels {
  int64_t width;  // of a panel, in columns
  int64_t pitch;  // of a panel, in tiles
  int64_t plane, plane_row;
};

// Transforms `channels` channels of one tile, given as a pointer to each pixel's channels in row order, and writes row
// `tile` of its points' panels, which other workers read if they are `shared`. Asks for next_pixels, which come next.
template <typename T>
using TransformPixels = void (*)(const void* const* pixels, const void* const* next_pixels, int64_t first_channel,
                                 int64_t channels, const PointPanels& panels, int64_t tile, bool shared, T* to);

// What Winograd's transform to taps read, and what it made of that, each as the sum of the squares.
template <typename T>
struct Squares {
  T sums, taps;
};

// What becomes of what is in memory: it is overwritten, past the caches where whole lines are, or added to.
enum class Write { kOver, kStreaming, kAdd };

// Turns the sums of the products, planes of `count` elements, into the 3 x 3 taps of dW: tap i goes to
// to + i * tap_stride.
template <typename T>
using TransformToTaps = Squares<T> (*)(const T* sums, int64_t plane, int64_t count, Write write, int64_t tap_stride,
                                       T* to);

// By whether a tile's height is kLargeSide, by whether its width is, and by the DataType of the source. Products become
// taps by whether some tile's height and some tile's width are.
template <typename T>
struct WinogradKernels {
  TransformPixels<T> input[2][2][4];
  TransformPixels<T> out_backprop[2][2][4];
  TransformToTaps<T> filter[2][2];
};

// The output pixels that a TapKernel runs over. dY's are dense; X's rows are x_row_step elements apart.
struct TapRegion {
  int64_t rows, columns;
  int64_t x_row_step;
};

// One vector of channels, x_step elements from one pixel of X to the next: sums[t * sum_stride] += the sum over the
// region of x[taps[t]] * dy, for each tap t.
template <typename T>
using TapKernel = void (*)(const TapRegion& region, const T* x, int64_t x_step, const int64_t* taps, const T* dy,
                           int64_t sum_stride, T* sums);

template <typename T>
using LaneIndex = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

// For each of `pixels` pixels, pixel_step apart, and each of `filter_channels` channels c, gathers a vector whose lane
// i is pixel[c + lanes[i]]. `readable` elements may be read from `source` on.
template <typename T>
using SpreadLanes = void (*)(const void* source, int64_t readable, int64_t pixels, int64_t pixel_step,
                             int64_t filter_channels, const LaneIndex<T>* lanes, T* to);

// Output pixels that see the inside of X through one tap. Steps in elements, from a pixel of X or dY to the next one,
// from a row to the next one and from an image to the next one.
struct PixelGrid {
  int64_t images, rows, columns;
  int64_t x_image_step, x_row_step, x_step;
  int64_t dy_image_step, dy_row_step, dy_step;
};

// Adds, or stores when !accumulate, a tile of some channels of groups and some vectors of their filters, where a lane's
// channels begin at x[first_channels[lane]], or at x where all lanes are of one group:
//   tile[i * tile_stride + j] += sum over the grid's pixels of x[first_channels[j] + i] * dy[j].
// One group has `columns` filters from the tile's first one on, and at least a vector of them in all: where the tile's
// last vector would reach over their end, it ends with them instead. Moves `lookahead` on with every PixelsPerAsk
// pixels of a row.
template <typename T>
using GridKernel = void (*)(const PixelGrid& grid, const void* x, const void* dy, const LaneIndex<T>* first_channels,
                            T* tile, int64_t tile_stride, int64_t columns, bool accumulate, RunLookahead* lookahead);

// A tile of few sums has as many for each of so many neighbouring pixels: eight do not wait for one another.
constexpr int PixelsPerAsk(int sums) { return std::max(1, 8 / sums); }

// Output pixels of one row that see X through the same columns of the filter.
struct Segment {
  int64_t ow, pixels;
  int64_t columns_begin, columns_end;
};

// The channels of an output row, and the rows of the filter through which they see X. Steps and strides in elements.
struct ChannelRows {
  int64_t channels;                    // at least one vector
  int64_t rows;                        // of the filter
  int64_t x_step, dy_step;             // from one output pixel to the next
  int64_t row_step, column_step;       // from what one row or column of the filter sees to what the next one sees
  int64_t sum_row_stride, sum_stride;  // from the sums of one row or column to those of the next
  int64_t x_ahead, dy_ahead;           // to what the next output row sees
};

struct PixelRun : ChannelRows {
  const Segment* segments;
  int64_t segment_count;
  int64_t first_column;  // of the filter; columns are counted from here
  int64_t new_rows;      // of the filter, the last ones: what they see next has not been read yet
};

// Depthwise, on X and dY where they lie: for each row r, column k and channel c,
// sums[r * sum_row_stride + k * sum_stride + c] += the sum over the pixels that see X through column k of
// x[ow * x_step + r * row_step + k * column_step + c] * dy[ow * dy_step + c].
template <typename T>
using RunKernel = void (*)(const PixelRun& run, const void* x, const void* dy, T* sums);

// Neighbouring pixels of output rows that see X through the same rows of the filter, and the columns of X that lie in
// the image, counted from the one that the first pixel sees through the filter's first column.
struct PixelWindow : ChannelRows {
  bool whole_rows;  // of the image: all of its channels
  int64_t output_rows;
  int64_t pixels;  // of each
  int64_t inside_begin, inside_end;
};

// As RunKernel, for stride 1 or 2 without dilation. x and dy are those of the first pixel.
template <typename T>
using WindowKernel = void (*)(const PixelWindow& window, const void* x, const void* dy, T* sums);

// Other widths are rare in depthwise filters; each would add kernels for every type and instruction set.
constexpr bool HasWindowKernel(int64_t columns) { return columns == 3 || columns == 5 || columns == 7; }

inline constexpr int kMaxWindowStride = 2;
inline constexpr int kMaxWindowColumns = 7;  // of the filter
inline constexpr int kMaxRunColumns = 5;     // of the filter, in one RunKernel: two vectors of sums for each
inline constexpr int kMaxTaps = 10;          // of one TapKernel: as many sums and pointers as there are registers
inline constexpr int kMaxVectors = 3;        // per micro-kernel row
inline constexpr int kMaxRows = 16;
inline constexpr int kMaxSharedRows = 8;    // of a GridKernel whose vectors several groups share
inline constexpr int kMaxGroupVectors = 2;  // of a GridKernel of one group

template <typename T>
struct Kernels {
  int lanes;
  int lookahead_pixels;                                    // from one line that a Lookahead asks for to the next
  int max_rows[kMaxVectors + 1];                           // tallest micro-kernel for each number of vectors
  MicroKernel<T> micro[3][kMaxVectors + 1][kMaxRows + 1];  // by Indexed first
  PackRows<T> pack[4];                                     // by the DataType of the source
  ReduceSlices<T> reduce[4];                               // by the DataType of the result
  WinogradKernels<T> winograd[kMaxWinogradStride];         // by the stride less one
  RunKernel<T> multiply_run[4][kMaxRunColumns + 1];        // by the DataType of the sources first
  WindowKernel<T> multiply_window[4][kMaxWindowStride + 1]
                                 [kMaxWindowColumns + 1];  // by the DataType of the sources first
  TapKernel<T> multiply_taps[kMaxTaps + 1];
  SpreadLanes<T> spread[4];                                     // by the DataType of the source
  GridKernel<T> one_group[kMaxGroupVectors + 1][kMaxRows + 1];  // with wide vectors, on elements of 32 or 64 bits
  GridKernel<T> several_groups[4][kMaxSharedRows + 1];          // by the DataType of the source first
};

// to[column * to_stride + row] = from[row * from_stride + column]; strides in elements. With `streaming` whole lines go
// past the caches.
using TransposeMatrix = void (*)(const void* from, int64_t from_stride, int64_t rows, int64_t columns, bool streaming,
                                 void* to, int64_t to_stride);

struct Isa {
  const char* name;
  int vector_bytes;
  const Isa* half_as_wide;  // of the same processor, or null
  TransposeMatrix transpose16, transpose32, transpose64;
  Kernels<float> f32;
  Kernels<double> f64;
  // f32 with dot products of bfloat16 pairs: pack[kBFloat16], the micro-kernels and one_group take an "element" for the
  // values of two pixels, and a "row" for both. Without kernels where the processor has no such instruction.
  Kernels<float> bf16_pairs;

  bool has_bf16_pairs() const { return bf16_pairs.lanes > 0; }
};

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_KERNELS_H_
