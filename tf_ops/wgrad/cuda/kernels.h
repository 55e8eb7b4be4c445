// The kernels behind the engine, as host functions that launch them. Every one is asynchronous on `stream`, allocates
// nothing, and returns the launch's error. No header of CUDA is needed here, so tests of the engine on the host put
// functions of their own in the kernels' place.
#ifndef TF_OPS_WGRAD_CUDA_KERNELS_H_
#define TF_OPS_WGRAD_CUDA_KERNELS_H_

#include "tf_ops/wgrad/cuda/instances.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/problem.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

// One group of an NHWC problem, as the implicit GEMM sees it. Channel counts are the group's; the pixel strides are the
// tensors' own channel counts.
struct GemmView {
  const void* input;
  const void* out_backprop;
  void* slices;  // [slices][out_channels][filter_height][filter_width][channels], float32 or float64
  int batch, in_height, in_width, channels, input_pixel_stride;
  int out_height, out_width, out_channels, output_pixel_stride;
  int filter_height, filter_width;
  int pad_top, pad_left, stride_height, stride_width, dilation_height, dilation_width;
  int slice_count;
};

// One per row of WGRAD_CUDA_GEMM_INSTANCES, each defined in the file of its type and alignment.
template <InstanceId id>
Status LaunchImplicitGemm(const GemmView& view, Stream stream);

// `slices`: [slices][filter rows][out channels] of the accumulator type. NHWC only.
Status LaunchDepthwise(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                       void* slices, Stream stream);

// `slices` as above; any layout.
Status LaunchGeneral(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                     void* slices, Stream stream);

Status LaunchZeros(void* target, int64_t bytes, Stream stream);

// The problem as it was asked for, with its tensors. A kernel that is given it computes again, by the definition, what
// zeros for the padding or rounding to tf32 may have spoiled of what it writes: NaN, and Inf in float32.
struct Original {
  const Problem* problem;
  const void* input;
  const void* out_backprop;
};

// Does so where something else has written `filter_backprop`, which is aligned to 16 bytes.
Status LaunchRepair(const Original& original, void* filter_backprop, Stream stream);

// [images, rows, columns] -> [images, columns, rows].
Status LaunchTranspose(DataType dtype, const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                       Stream stream);

// KRSC -> HWIO. `original` may be null.
Status LaunchTransposedFilter(DataType dtype, const void* krsc, int64_t out_channels, int64_t filter_rows,
                              void* filter_backprop, const Original* original, Stream stream);

// X as fold.h has it, of elements of 2 or 4 bytes, NHWC.
Status LaunchFold(const Problem& problem, const void* input, void* folded, Stream stream);

// Slices of `groups` matrices [rows, columns], as in reduce.h. `carry` may be null.
struct SliceView {
  void* data;  // the sums of chains of slices take the place of slices
  const void* carry;
  int64_t count, groups, rows, columns;
  // Where columns are filter rows: of every `tap_columns` the first `tap_channels` count, the others fill up.
  int64_t tap_columns = 1, tap_channels = 1;
};

// Sums into `carry`, in the accumulator type of `dtype`.
Status LaunchCarry(DataType dtype, const SliceView& slices, void* carry, Stream stream);

// Sums, rounds to `dtype`, and writes HWIO. `transposed`: the slices are KRSC. `original` may be null.
Status LaunchFinish(DataType dtype, const SliceView& slices, bool transposed, void* filter_backprop,
                    const Original* original, Stream stream);

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_KERNELS_H_
