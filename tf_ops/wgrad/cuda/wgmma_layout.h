// Where the elements of tf32 panels are: in shared memory, and in the registers of the threads that multiply them.
//
// A panel is [32 rows][128 bytes], of which the eight chunks of 16 bytes are permuted. Shared memory has 32 banks of 4
// bytes, so that eight rows of one chunk, were it not for that, would be in the same four.
#ifndef TF_OPS_WGRAD_CUDA_WGMMA_LAYOUT_H_
#define TF_OPS_WGRAD_CUDA_WGMMA_LAYOUT_H_

#include "tf_ops/wgrad/cuda/host_device.h"

namespace wgrad::cuda::wgmma {

inline constexpr int kPanelRowBytes = 128;

WGRAD_HOST_DEVICE int SwizzledOffset(int row, int chunk) { return row * kPanelRowBytes + (chunk ^ row % 8) * 16; }

// The instruction finds its 64 filter rows in the registers of 128 threads, each of which has one of the first eight
// rows of its warp and the one eight below. Which channels these are is free: they are neighbours, so that one load
// gets both, and in such chunks that half a warp, which loads them of four pixels, reads every bank once.
WGRAD_HOST_DEVICE int PanelOfRows(int thread) { return thread / 64; }

WGRAD_HOST_DEVICE int ChunkOfRows(int thread) { return thread / 32 % 2 * 2 + thread / 16 % 2 + thread / 8 % 2 * 4; }

WGRAD_HOST_DEVICE int FirstOfRows(int thread) { return 4 * ChunkOfRows(thread) + thread / 4 % 2 * 2; }

// From where it loads them: of an instruction's eight pixels those of one, or with `index` 1 of the one four below.
WGRAD_HOST_DEVICE int OffsetOfRows(int thread, int index) {
  return SwizzledOffset(thread % 4 + 4 * index, ChunkOfRows(thread)) + FirstOfRows(thread) % 4 * 4;
}

// To transpose a panel, each thread of a warp takes two blocks of four rows of a chunk. They lie along diagonals, of
// which eight threads together read, and write, every bank once.
struct PanelBlock {
  int row, chunk;  // four times as many rows come before
};

WGRAD_HOST_DEVICE int OffsetOf(const PanelBlock& block, int i) {
  return SwizzledOffset(4 * block.row + i, block.chunk);
}

WGRAD_HOST_DEVICE PanelBlock Transposed(const PanelBlock& block) { return {block.chunk, block.row}; }

WGRAD_HOST_DEVICE PanelBlock BlockOf(int lane, int index) { return {lane % 8 ^ (lane / 8 + 4 * index), lane % 8}; }

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_WGMMA_LAYOUT_H_
