// Gathers rows of X or dY into dense panels, widening the 16-bit types to float32 on the way.
#ifndef TF_OPS_WGRAD_CPU_PACK_H_
#define TF_OPS_WGRAD_CPU_PACK_H_

#include <cstring>
#include <type_traits>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/scalar.h"
#include "tf_ops/wgrad/cpu/simd.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace wgrad::WGRAD_ISA {
namespace {

inline Vector<float> LoadWidened(const float* from) { return Load(from); }

inline Vector<double> LoadWidened(const double* from) { return Load(from); }

// GCC 12 widens in two halves unless told: seven instructions for these two, and depthwise at half the speed.
inline Vector<uint32_t> LoadWidened(const uint16_t* from) {
#if WGRAD_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return (Vector<uint32_t>)_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif WGRAD_VECTOR_BYTES == 32 && defined(__AVX2__)
  return (Vector<uint32_t>)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#else
  constexpr int kBytes = sizeof(uint16_t) * kLanes<float>;
  return __builtin_convertvector(*reinterpret_cast<const UnalignedVector<uint16_t, kBytes>*>(from), Vector<uint32_t>);
#endif
}

inline Vector<float> LoadWidened(const BFloat16* from) {
  return reinterpret_cast<Vector<float>>(LoadWidened(reinterpret_cast<const uint16_t*>(from)) << 16);
}

inline Vector<float> LoadWidened(const Half* from) {
#if WGRAD_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return (Vector<float>)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif WGRAD_VECTOR_BYTES == 32 && defined(__F16C__)
  return (Vector<float>)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif WGRAD_VECTOR_BYTES == 16 && defined(__aarch64__)
  float16x4_t halves;
  std::memcpy(&halves, from, sizeof(halves));
  return (Vector<float>)vcvt_f32_f16(halves);
#else
  Vector<float> wide;
  for (int i = 0; i < kLanes<float>; ++i) wide[i] = ToFloat(from[i]);
  return wide;
#endif
}

template <typename Source, typename T>
inline void CopyWidened(const Source* from, int64_t width, T* to) {
  if (width < kLanes<T>) {
    for (int64_t i = 0; i < width; ++i) to[i] = ToAccumulator<T>(from[i]);
    return;
  }
  // The last vector overlaps the one before.
  const int64_t last = width - kLanes<T>;
  for (int64_t i = 0; i < last; i += kLanes<T>) Store(LoadWidened(from + i), to + i);
  Store(LoadWidened(from + last), to + last);
}

// kVectors is the width of a full panel, or 0 where that is not a whole number of vectors or another one.
template <int kVectors, typename Source, typename T>
void PackPanelsOf(const Source* base, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                  int64_t pitch, int64_t slot, T* to) {
  const int64_t last_width = width % panel_width;
  const int64_t last_stride = PanelStride(last_width, panel_width, kLanes<T>);
  const int64_t full_width = width - last_width;
  for (int64_t p = 0; p < count; ++p) {
    const Source* from = base + offsets[p];
    T* row = to + (slot + p) * panel_width;
    for (int64_t column = 0; column < full_width; column += panel_width, row += pitch * panel_width) {
      if constexpr (kVectors > 0) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) Store(LoadWidened(from + column + j * kLanes<T>), row + j * kLanes<T>);
      } else {
        CopyWidened(from + column, panel_width, row);
      }
    }
    if (last_width > 0) {
      T* last = to + full_width * pitch + (slot + p) * last_stride;
      CopyWidened(from + full_width, last_width, last);
      for (int64_t i = last_width; i < last_stride; ++i) last[i] = 0;
    }
  }
}

template <typename Source, typename T>
void PackPanels(const void* source, const int64_t* offsets, int64_t count, int64_t width, int64_t panel_width,
                int64_t pitch, int64_t slot, T* to) {
  const auto pack = panel_width == kLanes<T>       ? PackPanelsOf<1, Source, T>
                    : panel_width == 2 * kLanes<T> ? PackPanelsOf<2, Source, T>
                    : panel_width == 3 * kLanes<T> ? PackPanelsOf<3, Source, T>
                    : panel_width == 4 * kLanes<T> ? PackPanelsOf<4, Source, T>
                                                   : PackPanelsOf<0, Source, T>;
  pack(static_cast<const Source*>(source), offsets, count, width, panel_width, pitch, slot, to);
}

inline void StoreRounded(Vector<float> sums, float* to) { Store(sums, to); }

inline void StoreRounded(Vector<double> sums, double* to) { Store(sums, to); }

inline void StoreRounded(Vector<float> sums, BFloat16* to) {
  const auto bits = reinterpret_cast<Vector<uint32_t>>(sums);
  const Vector<uint32_t> nan = bits >> 16 | 0x40;
  const Vector<uint32_t> rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Vector<uint32_t> result = sums == sums ? rounded : nan;
  Store(__builtin_convertvector(result, Vector<uint16_t, kVectorBytes / 2>), reinterpret_cast<uint16_t*>(to));
}

inline void StoreRounded(Vector<float> sums, Half* to) {
#if WGRAD_VECTOR_BYTES == 64 && defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtps_ph((__m512)sums, _MM_FROUND_TO_NEAREST_INT));
#elif WGRAD_VECTOR_BYTES == 32 && defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph((__m256)sums, _MM_FROUND_TO_NEAREST_INT));
#elif WGRAD_VECTOR_BYTES == 16 && defined(__aarch64__)
  const float16x4_t halves = vcvt_f16_f32((float32x4_t)sums);
  std::memcpy(to, &halves, sizeof(halves));
#else
  for (int i = 0; i < kLanes<float>; ++i) to[i] = ToHalf(sums[i]);
#endif
}

// Adds the `slices` partial sums in their order and rounds once.
template <typename T, typename Result>
bool Reduce(const T* partial, int64_t slice_stride, int64_t slices, int64_t count, void* to) {
  Result* result = static_cast<Result*>(to);
  Vector<T> zeros = {};  // NaN where a sum was not finite
  int64_t i = 0;
  for (; i + kLanes<T> <= count; i += kLanes<T>) {
    Vector<T> sum = Load(partial + i);
    for (int64_t s = 1; s < slices; ++s) sum += Load(partial + s * slice_stride + i);
    zeros += sum - sum;
    StoreRounded(sum, result + i);
  }
  bool finite = true;
  for (int lane = 0; lane < kLanes<T>; ++lane) finite &= zeros[lane] == 0;
  for (; i < count; ++i) {
    T sum = partial[i];
    for (int64_t s = 1; s < slices; ++s) sum += partial[s * slice_stride + i];
    finite &= sum - sum == 0;
    result[i] = FromAccumulator<Result>(sum);
  }
  return finite;
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_PACK_H_
