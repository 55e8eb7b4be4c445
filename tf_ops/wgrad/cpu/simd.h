// Vectors of kVectorBytes as the compiler's own extension: one source for every instruction set. An ISA file defines
// WGRAD_ISA (its namespace) and WGRAD_VECTOR_BYTES before it includes this.
#ifndef TF_OPS_WGRAD_CPU_SIMD_H_
#define TF_OPS_WGRAD_CPU_SIMD_H_

#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "tf_ops/wgrad/cpu/kernels.h"

namespace wgrad::WGRAD_ISA {
namespace {

inline constexpr int kVectorBytes = WGRAD_VECTOR_BYTES;

template <typename T>
inline constexpr int kLanes = kVectorBytes / sizeof(T);

template <typename T, int kBytes = kVectorBytes>
using Vector __attribute__((vector_size(kBytes))) = T;

template <typename T, int kBytes = kVectorBytes>
using UnalignedVector __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias)) = T;

template <typename T>
inline Vector<T> Load(const T* from) {
  return *reinterpret_cast<const UnalignedVector<T>*>(from);
}

template <typename V, typename T>
inline void Store(V value, T* to) {
  *reinterpret_cast<UnalignedVector<T, sizeof(V)>*>(to) = value;
}

// Past the caches, for what another core reads next: otherwise each line is fetched first, and then has to come out of
// this core's cache, which takes longer than from memory. `to` is aligned to the vector, and the other vectors of its
// line follow soon. Needs FenceStreams() before the other core reads.
template <typename V, typename T>
inline void StoreStreaming(V value, T* to) {
  static_assert(sizeof(V) == kVectorBytes);
#if defined(__AVX512F__) && WGRAD_VECTOR_BYTES == 64
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), reinterpret_cast<__m512i>(value));
#elif defined(__AVX__) && WGRAD_VECTOR_BYTES == 32
  _mm256_stream_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(value));
#elif defined(__SSE2__) && WGRAD_VECTOR_BYTES == 16
  _mm_stream_si128(reinterpret_cast<__m128i*>(to), reinterpret_cast<__m128i>(value));
#else
  Store(value, to);
#endif
}

// Whether so many elements are whole cache lines.
template <typename T>
inline bool AreLines(const T* first, int64_t elements) {
  const int64_t bytes = elements * static_cast<int64_t>(sizeof(T));
  return reinterpret_cast<uintptr_t>(first) % kCacheLine == 0 && bytes % kCacheLine == 0;
}

// Subtracting zero is exact, so the compiler drops it and a bare broadcast load remains; adding zero would turn -0
// into +0 and costs an instruction.
template <typename T>
inline Vector<T> Broadcast(T value) {
  return value - Vector<T>{};
}

// Asks for a line that the first-level cache has no room for until it is needed.
inline void AskSecondLevelFor(const void* line) { __builtin_prefetch(line, 0, 2); }

// Asks for kVectors vectors, soon to be written.
template <int kVectors, typename T>
inline void PrefetchToWrite(const T* to) {
  constexpr int kElements = kVectors * kLanes<T>, kLineElements = kCacheLine / sizeof(T);
#pragma GCC unroll 3
  for (int i = 0; i < kElements; i += kLineElements) __builtin_prefetch(to + i, 1);
  if constexpr (kVectorBytes < kCacheLine)
    __builtin_prefetch(to + kElements - 1, 1);  // of those that begin within a line
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_SIMD_H_
