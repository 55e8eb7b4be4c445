// The transforms of Winograd's algorithm for the filter gradient: a 4 x 4 tile of dY and the 6 x 6 tile of X that it
// meets give a 3 x 3 contribution to dW with 36 products instead of 144, F(3x3, 4x4). A side of a tile may have three
// pixels instead of four, which then takes five products instead of six.
//
// In one dimension, y[j] = sum over i in [0, 4) of d[i] * x[i + j] for j in [0, 3) is A^T ((G d) * (B^T x)) by the
// Toom-Cook method with the points 0, +-2/3, +-3/2 and infinity. Their squares are each other's inverses, which keeps
// the matrices' entries near one: the relative error on normal data is 6e-7, half of what 0, +-1, +-2 gives. With three
// elements of d the point 0 is left out. A^T has the same columns for the other points then, so that the products of
// both kinds of tiles add up before they become taps.
//
// With stride 2 the sums over x[2 i + j] fall apart by the phase of the pixels: j = 0 and 2 are two taps of stride 1
// over the even pixels, of five products at the points +-2/3, +-3/2 and infinity, and j = 1 is the sum of four products
// with the odd ones. In two dimensions these are 81 products instead of 144, with the same error. With three elements
// of d infinity and one product of the odd pixels are left out.
//
// Products that only tiles of four pixels have come first. Those with the odd pixels are one sum, behind the others.
#ifndef TF_OPS_WGRAD_CPU_WINOGRAD_TRANSFORM_H_
#define TF_OPS_WGRAD_CPU_WINOGRAD_TRANSFORM_H_

#include <type_traits>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/pack.h"

namespace wgrad::WGRAD_ISA {
namespace {

template <typename T>
struct Points {
  static constexpr T kP = T(2) / 3, kP2 = T(4) / 9;
  static constexpr T kQ = T(3) / 2, kQ2 = T(9) / 4;
  static constexpr T kSum = T(97) / 36;  // kP2 + kQ2
  // The denominators of the Lagrange polynomials at +-kP and at +-kQ, 2 kP2 (kP2 - kQ2) and 2 kQ2 (kQ2 - kP2).
  static constexpr T kScaleP = T(-81) / 130, kScaleQ = T(8) / 65;
};

// u[0..3]: the rows of B^T for the points +-2/3 and +-3/2, of four elements of x one or two apart.
template <typename T>
inline void TransformToPoints(Vector<T> x0, Vector<T> x1, Vector<T> x2, Vector<T> x3, Vector<T>* u) {
  using P = Points<T>;
  const Vector<T> even_p = x3 - P::kQ2 * x1, odd_p = P::kP * (x2 - P::kQ2 * x0);
  const Vector<T> even_q = x3 - P::kP2 * x1, odd_q = P::kQ * (x2 - P::kP2 * x0);
  u[0] = even_p + odd_p;
  u[1] = even_p - odd_p;
  u[2] = even_q + odd_q;
  u[3] = even_q - odd_q;
}

// The row of B^T for infinity, and of elements one earlier that for the point 0.
template <typename T>
inline Vector<T> TransformToEnd(Vector<T> x0, Vector<T> x2, Vector<T> x4) {
  return x0 + x4 - Points<T>::kSum * x2;
}

// B^T, by the stride and by the pixels of dY along the side of a tile.
template <typename T, int kStride, int kSide>
struct InputTransform;

template <typename T>
struct InputTransform<T, 1, kSmallSide> {
  static constexpr int kFrom = TilePoints(1, kSmallSide), kTo = kFrom;
  static void Apply(const Vector<T>* x, Vector<T>* u) {
    TransformToPoints<T>(x[0], x[1], x[2], x[3], u);
    u[4] = TransformToEnd<T>(x[0], x[2], x[4]);
  }
};

template <typename T>
struct InputTransform<T, 1, kLargeSide> {
  static constexpr int kFrom = TilePoints(1, kLargeSide), kTo = kFrom;
  static void Apply(const Vector<T>* x, Vector<T>* u) {
    u[0] = TransformToEnd<T>(x[0], x[2], x[4]);
    InputTransform<T, 1, kSmallSide>::Apply(x + 1, u + 1);
  }
};

template <typename T>
struct InputTransform<T, 2, kSmallSide> {
  static constexpr int kFrom = TilePoints(2, kSmallSide), kTo = kFrom;
  static void Apply(const Vector<T>* x, Vector<T>* u) {
    TransformToPoints<T>(x[0], x[2], x[4], x[6], u);
    u[4] = x[1];
    u[5] = x[3];
    u[6] = x[5];
  }
};

template <typename T>
struct InputTransform<T, 2, kLargeSide> {
  static constexpr int kFrom = TilePoints(2, kLargeSide), kTo = kFrom;
  static void Apply(const Vector<T>* x, Vector<T>* u) {
    u[0] = x[7];
    u[1] = TransformToEnd<T>(x[0], x[4], x[8]);
    InputTransform<T, 2, kSmallSide>::Apply(x, u + 2);
  }
};

// d at +-2/3 and +-3/2: the even powers' part and the odd powers'.
template <typename T, int kSide>
struct Evaluation {
  Evaluation(const Vector<T>* d, T scale_p, T scale_q)
      : even_p(scale_p * (d[0] + Points<T>::kP2 * d[2])),
        odd_p(scale_p * Points<T>::kP * OddPowers(d, Points<T>::kP2)),
        even_q(scale_q * (d[0] + Points<T>::kQ2 * d[2])),
        odd_q(scale_q * Points<T>::kQ * OddPowers(d, Points<T>::kQ2)) {}

  static Vector<T> OddPowers(const Vector<T>* d, T square) {
    if constexpr (kSide == kLargeSide) return d[1] + square * d[3];
    return d[1];
  }

  const Vector<T> even_p, odd_p, even_q, odd_q;
};

// v[0..3]: G without the point 0, where the denominators at the others lose a factor, and those at -2/3 and -3/2 change
// their sign.
template <typename T, int kSide>
inline void EvaluateWithoutZero(const Vector<T>* d, Vector<T>* v) {
  using P = Points<T>;
  const Evaluation<T, kSide> at(d, P::kScaleP * P::kP, P::kScaleQ * P::kQ);
  v[0] = at.odd_p + at.even_p;
  v[1] = at.odd_p - at.even_p;
  v[2] = at.odd_q + at.even_q;
  v[3] = at.odd_q - at.even_q;
}

// G.
template <typename T, int kStride, int kSide>
struct OutBackpropTransform;

template <typename T>
struct OutBackpropTransform<T, 1, kSmallSide> {
  static constexpr int kFrom = kSmallSide, kTo = TilePoints(1, kSmallSide);
  static void Apply(const Vector<T>* d, Vector<T>* v) {
    EvaluateWithoutZero<T, kSmallSide>(d, v);
    v[4] = d[2];
  }
};

template <typename T>
struct OutBackpropTransform<T, 1, kLargeSide> {
  static constexpr int kFrom = kLargeSide, kTo = TilePoints(1, kLargeSide);
  static void Apply(const Vector<T>* d, Vector<T>* v) {
    const Evaluation<T, kLargeSide> at(d, Points<T>::kScaleP, Points<T>::kScaleQ);
    v[0] = d[0];
    v[1] = at.even_p + at.odd_p;
    v[2] = at.even_p - at.odd_p;
    v[3] = at.even_q + at.odd_q;
    v[4] = at.even_q - at.odd_q;
    v[5] = d[3];
  }
};

template <typename T>
struct OutBackpropTransform<T, 2, kSmallSide> {
  static constexpr int kFrom = kSmallSide, kTo = TilePoints(2, kSmallSide);
  static void Apply(const Vector<T>* d, Vector<T>* v) {
    EvaluateWithoutZero<T, kSmallSide>(d, v);
    v[4] = d[0];
    v[5] = d[1];
    v[6] = d[2];
  }
};

template <typename T>
struct OutBackpropTransform<T, 2, kLargeSide> {
  static constexpr int kFrom = kLargeSide, kTo = TilePoints(2, kLargeSide);
  static void Apply(const Vector<T>* d, Vector<T>* v) {
    v[0] = v[1] = d[3];
    EvaluateWithoutZero<T, kLargeSide>(d, v + 2);
    v[6] = d[0];
    v[7] = d[1];
    v[8] = d[2];
  }
};

// What the products m at +-2/3 and +-3/2 add to the sums over i of d[i] * x[i + j], for j = 0, 1 and 2.
template <typename T>
struct Interpolation {
  explicit Interpolation(const Vector<T>* m) : sum_p(m[0] + m[1]), sum_q(m[2] + m[3]), m(m) {}

  Vector<T> At0() const { return sum_p + sum_q; }
  Vector<T> At1() const { return Points<T>::kP * (m[0] - m[1]) + Points<T>::kQ * (m[2] - m[3]); }
  Vector<T> At2() const { return Points<T>::kP2 * sum_p + Points<T>::kQ2 * sum_q; }

  const Vector<T> sum_p, sum_q;
  const Vector<T>* const m;
};

// A^T, by the largest side of a tile.
template <typename T, int kStride, int kSide>
struct FilterTransform;

template <typename T>
struct FilterTransform<T, 1, kSmallSide> {
  static constexpr int kFrom = TileSums(kSmallSide), kTo = 3;
  static void Apply(const Vector<T>* m, Vector<T>* y) {
    const Interpolation<T> sums(m);
    y[0] = sums.At0();
    y[1] = sums.At1();
    y[2] = sums.At2() + m[4];
  }
};

template <typename T>
struct FilterTransform<T, 1, kLargeSide> {
  static constexpr int kFrom = TileSums(kLargeSide), kTo = 3;
  static void Apply(const Vector<T>* m, Vector<T>* y) {
    FilterTransform<T, 1, kSmallSide>::Apply(m + 1, y);
    y[0] += m[0];
  }
};

template <typename T>
struct FilterTransform<T, 2, kSmallSide> {
  static constexpr int kFrom = TileSums(kSmallSide), kTo = 3;
  static void Apply(const Vector<T>* m, Vector<T>* y) {
    const Interpolation<T> sums(m);
    y[0] = sums.At0();
    y[1] = m[4];
    y[2] = sums.At1();
  }
};

template <typename T>
struct FilterTransform<T, 2, kLargeSide> {
  static constexpr int kFrom = TileSums(kLargeSide), kTo = 3;
  static void Apply(const Vector<T>* m, Vector<T>* y) {
    FilterTransform<T, 2, kSmallSide>::Apply(m + 1, y);
    y[2] += m[0];
  }
};

// Applies Vertical to the columns of a tile and then Horizontal to the rows; load and store number the elements by row
// and column. sum.Loaded gets each column and sum.Stored each row of the result. The loops are not unrolled in full:
// too few registers are left for the addresses then, and the transforms take 1.5 times as long.
template <typename Vertical, typename Horizontal, typename T, typename LoadElement, typename StoreElement, typename Sum>
inline void Transform2D(const LoadElement& load, const StoreElement& store, Sum* sum) {
  Vector<T> half[Vertical::kTo][Horizontal::kFrom];
#pragma GCC unroll 3
  for (int column = 0; column < Horizontal::kFrom; ++column) {
    Vector<T> from[Vertical::kFrom], to[Vertical::kTo];
#pragma GCC unroll 9
    for (int i = 0; i < Vertical::kFrom; ++i) from[i] = load(i, column);
    sum->Loaded(from, Vertical::kFrom);
    Vertical::Apply(from, to);
#pragma GCC unroll 9
    for (int i = 0; i < Vertical::kTo; ++i) half[i][column] = to[i];
  }
#pragma GCC unroll 3
  for (int row = 0; row < Vertical::kTo; ++row) {
    Vector<T> to[Horizontal::kTo];
    Horizontal::Apply(half[row], to);
    sum->Stored(to, Horizontal::kTo);
#pragma GCC unroll 9
    for (int i = 0; i < Horizontal::kTo; ++i) store(row, i, to[i]);
  }
}

template <typename T>
struct NoSum {
  void Loaded(const Vector<T>*, int) {}
  void Stored(const Vector<T>*, int) {}
};

// The sums start anew in each column and row: one chain of 36 additions would take longer than the transform.
template <typename T>
struct SumOfSquares {
  static Vector<T> Of(const Vector<T>* values, int count) {
    Vector<T> sum = values[0] * values[0];
#pragma GCC unroll 9
    for (int i = 1; i < count; ++i) sum += values[i] * values[i];
    return sum;
  }
  void Loaded(const Vector<T>* from, int count) { loaded += Of(from, count); }
  void Stored(const Vector<T>* to, int count) { stored += Of(to, count); }

  Vector<T> loaded = {}, stored = {};
};

template <typename Vertical, typename Horizontal, typename Source, bool kShared, typename T>
void TransformChannels(const void* const* pixels, const void* const* next_pixels, int64_t first_channel,
                       int64_t channels, const PointPanels& panels, int64_t tile, T* to) {
  constexpr int kPixels = Vertical::kFrom * Horizontal::kFrom;
  const int64_t plane = panels.plane, plane_row = panels.plane_row;  // which no store can change
  NoSum<T> none;
  const auto channels_of = [=](const void* pixel) { return static_cast<const Source*>(pixel) + first_channel; };
  for (int64_t column = 0; column < channels; column += kLanes<T>) {
    const int64_t in_panel = column % panels.width;
    const int64_t panel = column - in_panel;
    const int64_t row_elements = PanelStride(channels - panel, panels.width, kLanes<T>);
    T* point = to + panel * panels.pitch + tile * row_elements + in_panel;
    const auto store = [&](int row, int i, Vector<T> value) {
      T* element = point + row * plane_row + i * plane;
      // Whole lines: 4_3x3 gains 8 % on one thread and 11 on two, 4_3x3s2 10 and 8, 28 x 28 pixels of 256 channels 3.
      if constexpr (kShared && kVectorBytes == kCacheLine) {
        StoreStreaming(value, element);
      } else {
        Store(value, element);
        // What the tile after the next one overwrites.
        if (kShared) __builtin_prefetch(element + 2 * row_elements, 1);
      }
    };
    if (column + kLanes<T> <= channels) {
      const auto load = [&](int row, int i) {
        const int pixel = row * Horizontal::kFrom + i;
        // Pixels of groups lie in few of the first level's sets: 8 groups of 32 channels on 56 x 56 pixels gain 40 %,
        // 2_3x3 10 %.
        AskSecondLevelFor(channels_of(next_pixels[pixel]) + column);
        return LoadWidened(channels_of(pixels[pixel]) + column);
      };
      Transform2D<Vertical, Horizontal, T>(load, store, &none);
    } else {
      Source padded[kPixels][kLanes<T>] = {};
      for (int i = 0; i < kPixels; ++i) {
        for (int64_t c = column; c < channels; ++c) padded[i][c - column] = channels_of(pixels[i])[c];
      }
      const auto load = [&](int row, int i) { return LoadWidened(padded[row * Horizontal::kFrom + i]); };
      Transform2D<Vertical, Horizontal, T>(load, store, &none);
    }
  }
}

template <typename Vertical, typename Horizontal, typename Source, typename T>
void TransformTile(const void* const* pixels, const void* const* next_pixels, int64_t first_channel, int64_t channels,
                   const PointPanels& panels, int64_t tile, bool shared, T* to) {
  const auto transform = shared ? TransformChannels<Vertical, Horizontal, Source, true, T>
                                : TransformChannels<Vertical, Horizontal, Source, false, T>;
  transform(pixels, next_pixels, first_channel, channels, panels, tile, to);
}

template <typename Vertical, typename Horizontal, typename T>
Squares<T> TransformSums(const T* sums, int64_t plane, int64_t count, Write write, int64_t tap_stride, T* to) {
  constexpr int kSums = Vertical::kFrom * Horizontal::kFrom;
  const bool streaming = write == Write::kStreaming && AreLines(to, tap_stride);
  int64_t column = 0;
  SumOfSquares<T> sum;
  const auto load = [&](int row, int i) { return Load(sums + (row * Horizontal::kFrom + i) * plane + column); };
  for (; column + kLanes<T> <= count; column += kLanes<T>) {
    // Two vectors ahead, the next cache line of each plane.
    for (int i = 0; i < kSums; ++i) __builtin_prefetch(sums + i * plane + column + 2 * kLanes<T>);
    const auto store = [&](int row, int i, Vector<T> value) {
      T* tap = to + (row * Horizontal::kTo + i) * tap_stride + column;
      if (streaming) return StoreStreaming(value, tap);
      Store(write == Write::kAdd ? value + Load(tap) : value, tap);
    };
    Transform2D<Vertical, Horizontal, T>(load, store, &sum);
  }
  Squares<T> squares = {};
  for (int lane = 0; lane < kLanes<T>; ++lane) {
    squares.sums += sum.loaded[lane];
    squares.taps += sum.stored[lane];
  }
  if (column < count) {
    const int64_t rest = count - column;  // beyond it lie the products of other groups
    const auto store = [&](int row, int i, Vector<T> value) {
      T* tap = to + (row * Horizontal::kTo + i) * tap_stride + column;
      for (int64_t c = 0; c < rest; ++c) tap[c] = write == Write::kAdd ? value[c] + tap[c] : value[c];
    };
    SumOfSquares<T> sum_of_rest;
    Transform2D<Vertical, Horizontal, T>(load, store, &sum_of_rest);
    for (int64_t lane = 0; lane < rest; ++lane) {
      squares.sums += sum_of_rest.loaded[lane];
      squares.taps += sum_of_rest.stored[lane];
    }
  }
  return squares;
}

// Calls fill with each height and width that a tile may have, as constants.
template <typename Fill>
void ForEachTileShape(const Fill& fill) {
  constexpr std::integral_constant<int, kSmallSide> small;
  constexpr std::integral_constant<int, kLargeSide> large;
  fill(small, small);
  fill(small, large);
  fill(large, small);
  fill(large, large);
}

template <int kStride, typename Source, typename T>
void FillTileTransforms(DataType dtype, WinogradKernels<T>* winograd) {
  const int type = static_cast<int>(dtype);
  ForEachTileShape([=](auto height, auto width) {
    winograd->input[height == kLargeSide][width == kLargeSide][type] =
        TransformTile<InputTransform<T, kStride, height>, InputTransform<T, kStride, width>, Source, T>;
    winograd->out_backprop[height == kLargeSide][width == kLargeSide][type] =
        TransformTile<OutBackpropTransform<T, kStride, height>, OutBackpropTransform<T, kStride, width>, Source, T>;
  });
}

template <int kStride, typename T>
void FillTapTransforms(WinogradKernels<T>* winograd) {
  ForEachTileShape([=](auto height, auto width) {
    winograd->filter[height == kLargeSide][width == kLargeSide] =
        TransformSums<FilterTransform<T, kStride, height>, FilterTransform<T, kStride, width>, T>;
  });
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_WINOGRAD_TRANSFORM_H_
