// The kernels that move data between layouts: NCHW -> NHWC, and slices -> HWIO.
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda {
namespace {

template <typename A>
reduce::Slices<A> Typed(const SliceView& view) {
  return {static_cast<const A*>(view.data),
          static_cast<const A*>(view.carry),
          view.count,
          view.groups,
          view.rows,
          view.columns};
}

template <typename T>
Status Sum(const SliceView& view, void* target, Stream stream) {
  return LaunchBlocks(reduce::SumKernel<T>{Typed<Accumulator<T>>(view), static_cast<T*>(target)}, "reduction", stream);
}

template <typename T>
Status TransposedSum(const SliceView& view, void* target, Stream stream) {
  return LaunchBlocks(reduce::TransposedSumKernel<T>{Typed<Accumulator<T>>(view), static_cast<T*>(target)}, "reduction",
                      stream);
}

template <typename T>
Status Transpose(const void* source, int64_t images, int64_t rows, int64_t columns, void* target, Stream stream) {
  const transpose::Kernel<T> kernel = {static_cast<const T*>(source), images, rows, columns, static_cast<T*>(target)};
  return LaunchBlocks(kernel, "transpose", stream);
}

}  // namespace

Status LaunchTranspose(DataType dtype, const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                       Stream stream) {
  switch (ElementSize(dtype)) {
    case 2:
      return Transpose<uint16_t>(source, images, rows, columns, target, stream);
    case 4:
      return Transpose<uint32_t>(source, images, rows, columns, target, stream);
    default:
      return Transpose<uint64_t>(source, images, rows, columns, target, stream);
  }
}

Status LaunchCarry(DataType dtype, const SliceView& slices, void* carry, Stream stream) {
  if (dtype == DataType::kFloat64) return Sum<double>(slices, carry, stream);
  return Sum<float>(slices, carry, stream);
}

Status LaunchFinish(DataType dtype, const SliceView& slices, bool transposed, void* filter_backprop, Stream stream) {
  return VisitElement(dtype, [&](auto element) {
    using T = decltype(element);
    return transposed ? TransposedSum<T>(slices, filter_backprop, stream) : Sum<T>(slices, filter_backprop, stream);
  });
}

}  // namespace wgrad::cuda
