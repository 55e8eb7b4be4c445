// As many fused multiply-adds as the processor can do: independent chains in registers.
// Compile with -DELEMENT=float or double, or -DDOT_BF16 for AVX-512's dot product of bfloat16 pairs.
#include <stdint.h>
#include <time.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

// Two units of a latency of 4 need 8 chains; 12, and two operands, still fit 16 registers.
#define CHAINS 12

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#ifdef DOT_BF16
#include <immintrin.h>
typedef __m512 Vector;
#define STEP(acc) _mm512_dpbf16_ps(acc, ones, signs)
#define FLOPS_PER_STEP 64.0
#else
typedef ELEMENT Vector __attribute__((vector_size(VECTOR_BYTES)));
#define STEP(acc) ((acc)*factor + summand)
#define FLOPS_PER_STEP (2.0 * VECTOR_BYTES / sizeof(ELEMENT))
#endif

// FLOP/s of the calling thread over `iterations` rounds.
double FmaPeak(int64_t iterations) {
  Vector chain[CHAINS] = {{0}};
#ifdef DOT_BF16
  const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  const __m512bh signs = (__m512bh)_mm512_set1_epi32((int)0xbf803f80);  // pairs cancel, so that nothing overflows
#else
  const Vector factor = (Vector){0} + (ELEMENT)0.5;
  const Vector summand = (Vector){0} + (ELEMENT)1;
#endif
  const double start = Now();
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < CHAINS; ++c) {
      chain[c] = STEP(chain[c]);
      __asm__ volatile("" : "+x"(chain[c]));  // the chains are alike: keeps the compiler from computing only one
    }
  }
  return (double)iterations * CHAINS * FLOPS_PER_STEP / (Now() - start);
}
