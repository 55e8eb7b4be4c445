// The micro-kernel of 4 rows and 3 vectors for AVX2, by hand. Its 12 sums, 3 vectors of B and one broadcast take all 16
// registers, and GCC 12 spills sums as soon as it unrolls the loop over the pixels. Unrolled, a pixel takes 20
// instructions instead of 24, and they are the limit where another thread shares the core: 84 % of the FMA peak instead
// of 73 %. With the core alone it is 95 % instead of 93 %.
#ifndef TF_OPS_WGRAD_CPU_MICROKERNEL_AVX2_H_
#define TF_OPS_WGRAD_CPU_MICROKERNEL_AVX2_H_

#include <cstdint>

#include "tf_ops/wgrad/cpu/kernels.h"
#include "tf_ops/wgrad/cpu/microkernel.h"
#include "tf_ops/wgrad/cpu/simd.h"

namespace wgrad::WGRAD_ISA {
namespace {

template <typename T, Indexed kIndexed>
void Micro4x3(int64_t depth, const T* a, int64_t a_stride, const T* b, const int32_t* index, T* tile,
              int64_t tile_stride, bool accumulate) {
  Vector<T> sum[4][3];
  const int64_t a_step = a_stride * static_cast<int64_t>(sizeof(T));
  int64_t row;
  // Addresses come in two parts, the displacement and the registers. wgrad_pixel is given those of A for the pixel that
  // is `ahead` of the pointers, as far as A is not indexed.
  asm volatile(
      R"asm(
      .macro wgrad_row i, a, sum0, sum1, sum2
        .if %c[size] == 4
          vbroadcastss 4*\i\a, %%ymm3
          vfmadd231ps %%ymm0, %%ymm3, \sum0
          vfmadd231ps %%ymm1, %%ymm3, \sum1
          vfmadd231ps %%ymm2, %%ymm3, \sum2
        .else
          vbroadcastsd 8*\i\a, %%ymm3
          vfmadd231pd %%ymm0, %%ymm3, \sum0
          vfmadd231pd %%ymm1, %%ymm3, \sum1
          vfmadd231pd %%ymm2, %%ymm3, \sum2
        .endif
      .endm

      .macro wgrad_product a, b_displacement, b
        vmovups \b_displacement+0\b, %%ymm0
        vmovups \b_displacement+32\b, %%ymm1
        vmovups \b_displacement+64\b, %%ymm2
        wgrad_row 0, "\a", %[s00], %[s01], %[s02]
        wgrad_row 1, "\a", %[s10], %[s11], %[s12]
        wgrad_row 2, "\a", %[s20], %[s21], %[s22]
        wgrad_row 3, "\a", %[s30], %[s31], %[s32]
      .endm

      .macro wgrad_pixel ahead, a
        .if %c[indexed] == %c[indexed_a]
          movslq 4*\ahead(%[index]), %[row]
          imul %[a_step], %[row]
          wgrad_product "(%[a],%[row])", 96*\ahead, "(%[b])"
        .elseif %c[indexed] == %c[indexed_b]
          imull $96, 4*\ahead(%[index]), %k[row]
          wgrad_product "\a", 0, "(%[b],%[row])"
        .else
          wgrad_product "\a", 96*\ahead, "(%[b])"
        .endif
      .endm

      .macro wgrad_advance pixels
        .if %c[indexed] != %c[indexed_a]
          lea (%[a],%[a_step],\pixels), %[a]
        .endif
        .if %c[indexed] != %c[indexed_b]
          add $96*\pixels, %[b]
        .endif
        .if %c[indexed] == %c[indexed_a] || %c[indexed] == %c[indexed_b]
          add $4*\pixels, %[index]
        .endif
      .endm

      .irp sum, %[s00], %[s01], %[s02], %[s10], %[s11], %[s12], %[s20], %[s21], %[s22], %[s30], %[s31], %[s32]
        vxorps \sum, \sum, \sum
      .endr
      sub $4, %[depth]
      jl 2f
      .p2align 6
      1:
        wgrad_pixel 0, "(%[a])"
        wgrad_pixel 1, "(%[a],%[a_step])"
        wgrad_pixel 2, "(%[a],%[a_step],2)"
        wgrad_pixel 3, "(%[a],%[a_step3])"
        wgrad_advance 4
        sub $4, %[depth]
        jge 1b
      2:
      add $4, %[depth]
      jz 4f
      3:
        wgrad_pixel 0, "(%[a])"
        wgrad_advance 1
        dec %[depth]
        jnz 3b
      4:
      .purgem wgrad_row
      .purgem wgrad_product
      .purgem wgrad_pixel
      .purgem wgrad_advance
      )asm"
      : [s00] "=&x"(sum[0][0]), [s01] "=&x"(sum[0][1]), [s02] "=&x"(sum[0][2]), [s10] "=&x"(sum[1][0]),
        [s11] "=&x"(sum[1][1]), [s12] "=&x"(sum[1][2]), [s20] "=&x"(sum[2][0]), [s21] "=&x"(sum[2][1]),
        [s22] "=&x"(sum[2][2]), [s30] "=&x"(sum[3][0]), [s31] "=&x"(sum[3][1]), [s32] "=&x"(sum[3][2]),
        [depth] "+&r"(depth), [a] "+&r"(a), [b] "+&r"(b), [index] "+&r"(index), [row] "=&r"(row)
      : [a_step] "r"(a_step), [a_step3] "r"(3 * a_step), [size] "i"(sizeof(T)), [indexed] "i"(kIndexed),
        [indexed_a] "i"(kIndexedA), [indexed_b] "i"(kIndexedB)
      : "ymm0", "ymm1", "ymm2", "ymm3", "cc", "memory");
  StoreTile(sum, tile, tile_stride, accumulate);
}

template <typename T>
void FillMicro4x3(Kernels<T>* kernels) {
  kernels->micro[kNotIndexed][3][4] = Micro4x3<T, kNotIndexed>;
  kernels->micro[kIndexedA][3][4] = Micro4x3<T, kIndexedA>;
  kernels->micro[kIndexedB][3][4] = Micro4x3<T, kIndexedB>;
}

}  // namespace
}  // namespace wgrad::WGRAD_ISA

#endif  // TF_OPS_WGRAD_CPU_MICROKERNEL_AVX2_H_
