// The micro-kernel's loop for AVX2, by hand: 12 sums, 3 vectors of B and one broadcast take all 16 registers, and GCC
// 12 spills sums as soon as it unrolls. Unrolled, a pixel of 4 x 3 takes 20 instructions instead of 24, and they are
// the limit where another thread shares the core: 84 % of the FMA peak instead of 73 %. With the core alone it is 95 %
// instead of 93 %.
#ifndef TF_OPS_WGRAD_CPU_PIXEL_LOOP_AVX2_H_
#define TF_OPS_WGRAD_CPU_PIXEL_LOOP_AVX2_H_

#include <cstdint>
#include <type_traits>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

struct MultiplyAdd;

inline constexpr int kLookaheadPixels = 4;

template <typename Arithmetic, Indexed kIndexed, typename T, typename V, int kRows, int kVectors>
inline void SumPixels(int64_t depth, const T* a, int64_t a_stride, const T* b, int64_t b_stride, const int32_t* index,
                      Lookahead* lookahead, const Sums<T>& tile, V (&sum)[kRows][kVectors]) {
  static_assert(std::is_same_v<Arithmetic, MultiplyAdd> && kRows * kVectors <= 12 && kVectors <= 3);
  static_assert(kLookaheadPixels == 4 && sizeof(Lookahead) == 32);
  static_assert(kIndexedA == 1 && kIndexedB == 2);  // the operands of an asm are at most 30
  for (int i = 0; i < kRows && !tile.in_cache; ++i) PrefetchToWrite<kVectors>(tile.first + i * tile.stride);
  V s[12];
  const int64_t a_step = a_stride * static_cast<int64_t>(sizeof(T));
  const int64_t b_step = b_stride * static_cast<int64_t>(sizeof(T));
  int64_t row;
  // Addresses come in two parts, the displacement and the registers. wgrad_pixel is given those of A and of B for the
  // pixel that is `ahead` of the pointers, as far as they are not indexed.
  asm volatile(
      R"asm(
      .macro wgrad_multiply type, a, sum0, sum1, sum2
        vbroadcasts\type \a, %%ymm3
        vfmadd231p\type %%ymm0, %%ymm3, \sum0
        .ifnb \sum1
          vfmadd231p\type %%ymm1, %%ymm3, \sum1
        .endif
        .ifnb \sum2
          vfmadd231p\type %%ymm2, %%ymm3, \sum2
        .endif
      .endm

      .macro wgrad_row i, a, sum0, sum1, sum2
        .if \i < %c[rows]
          .if %c[size] == 4
            wgrad_multiply s, "4*\i\a", \sum0, \sum1, \sum2
          .else
            wgrad_multiply d, "8*\i\a", \sum0, \sum1, \sum2
          .endif
        .endif
      .endm

      .macro wgrad_product a, b
        vmovups \b, %%ymm0
        .if %c[vectors] == 3
          vmovups 32\b, %%ymm1
          vmovups 64\b, %%ymm2
          wgrad_row 0, "\a", %[s0], %[s1], %[s2]
          wgrad_row 1, "\a", %[s3], %[s4], %[s5]
          wgrad_row 2, "\a", %[s6], %[s7], %[s8]
          wgrad_row 3, "\a", %[s9], %[s10], %[s11]
        .elseif %c[vectors] == 2
          vmovups 32\b, %%ymm1
          wgrad_row 0, "\a", %[s0], %[s1]
          wgrad_row 1, "\a", %[s2], %[s3]
          wgrad_row 2, "\a", %[s4], %[s5]
          wgrad_row 3, "\a", %[s6], %[s7]
          wgrad_row 4, "\a", %[s8], %[s9]
          wgrad_row 5, "\a", %[s10], %[s11]
        .else
          wgrad_row 0, "\a", %[s0]
          wgrad_row 1, "\a", %[s1]
          wgrad_row 2, "\a", %[s2]
          wgrad_row 3, "\a", %[s3]
          wgrad_row 4, "\a", %[s4]
          wgrad_row 5, "\a", %[s5]
          wgrad_row 6, "\a", %[s6]
          wgrad_row 7, "\a", %[s7]
          wgrad_row 8, "\a", %[s8]
          wgrad_row 9, "\a", %[s9]
          wgrad_row 10, "\a", %[s10]
          wgrad_row 11, "\a", %[s11]
        .endif
      .endm

      .macro wgrad_pixel ahead, a, b
        .if %c[indexed] == 1
          movslq 4*\ahead(%[index]), %[row]
          wgrad_product "(%[a],%[row],%c[size])", "\b"
        .elseif %c[indexed] == 2
          movslq 4*\ahead(%[index]), %[row]
          imul %[b_step], %[row]
          wgrad_product "\a", "(%[b],%[row])"
        .else
          wgrad_product "\a", "\b"
        .endif
      .endm

      .macro wgrad_advance pixels
        .if %c[indexed] != 1
          lea (%[a],%[a_step],\pixels), %[a]
        .endif
        .if %c[indexed] != 2
          lea (%[b],%[b_step],\pixels), %[b]
        .endif
        .if %c[indexed] == 1 || %c[indexed] == 2
          add $4*\pixels, %[index]
        .endif
      .endm

      .macro wgrad_four_pixels
        wgrad_pixel 0, "(%[a])", "(%[b])"
        wgrad_pixel 1, "(%[a],%[a_step])", "(%[b],%[b_step])"
        wgrad_pixel 2, "(%[a],%[a_step],2)", "(%[b],%[b_step],2)"
        wgrad_pixel 3, "(%[a],%[a_step3])", "(%[b],%[b_step3])"
        wgrad_advance 4
        sub $4, %[depth]
      .endm

      .irp sum, %[s0], %[s1], %[s2], %[s3], %[s4], %[s5], %[s6], %[s7], %[s8], %[s9], %[s10], %[s11]
        vxorps \sum, \sum, \sum
      .endr
      sub $4, %[depth]
      jl 3f
      test %[lookahead], %[lookahead]
      jz 2f
      mov (%[lookahead]), %%rax
      mov 16(%[lookahead]), %%rdx
      .p2align 6
      1:
        prefetcht0 (%%rax)
        add 8(%[lookahead]), %%rax
        prefetcht0 (%%rdx)
        add 24(%[lookahead]), %%rdx
        wgrad_four_pixels
        jge 1b
      mov %%rax, (%[lookahead])
      mov %%rdx, 16(%[lookahead])
      jmp 3f
      .p2align 6
      2:
        wgrad_four_pixels
        jge 2b
      3:
      add $4, %[depth]
      jz 5f
      4:
        wgrad_pixel 0, "(%[a])", "(%[b])"
        wgrad_advance 1
        dec %[depth]
        jnz 4b
      5:
      .purgem wgrad_multiply
      .purgem wgrad_row
      .purgem wgrad_product
      .purgem wgrad_pixel
      .purgem wgrad_advance
      .purgem wgrad_four_pixels
      )asm"
      : [s0] "=&x"(s[0]), [s1] "=&x"(s[1]), [s2] "=&x"(s[2]), [s3] "=&x"(s[3]), [s4] "=&x"(s[4]), [s5] "=&x"(s[5]),
        [s6] "=&x"(s[6]), [s7] "=&x"(s[7]), [s8] "=&x"(s[8]), [s9] "=&x"(s[9]), [s10] "=&x"(s[10]), [s11] "=&x"(s[11]),
        [depth] "+&r"(depth), [a] "+&r"(a), [b] "+&r"(b), [index] "+&r"(index), [row] "=&r"(row)
      : [lookahead] "r"(lookahead), [a_step] "r"(a_step), [a_step3] "r"(3 * a_step), [b_step] "r"(b_step),
        [b_step3] "r"(3 * b_step), [size] "i"(sizeof(T)), [rows] "i"(kRows), [vectors] "i"(kVectors),
        [indexed] "i"(kIndexed)
      : "rax", "rdx", "ymm0", "ymm1", "ymm2", "ymm3", "cc", "memory");
#pragma GCC unroll 12
  for (int i = 0; i < kRows * kVectors; ++i) sum[i / kVectors][i % kVectors] = s[i];
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_PIXEL_LOOP_AVX2_H_
