// The kernels that move data between layouts: NCHW -> NHWC, and slices -> HWIO.
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda {
namespace {

// Several chains of slices become one slice each first.
template <typename A>
Status SumChains(const SliceView& view, Stream stream, reduce::Slices<A>* slices) {
  const int64_t size = view.rows * view.columns;
  A* data = static_cast<A*>(view.data);
  *slices = {
      data,        static_cast<const A*>(view.carry), view.count, size, view.count * size, view.groups, view.rows,
      view.columns};
  const reduce::ChainsKernel<A> chains = {data, view.count, view.groups, size};
  if (chains.Chains() == 1) return Status();
  slices->count = chains.Chains();
  slices->stride = reduce::kChain * size;
  return LaunchBlocks(chains, "reduction of chains", stream);
}

template <template <typename> class Kernel, typename T>
Status Sum(const SliceView& view, void* target, Stream stream) {
  Kernel<T> kernel;
  const Status status = SumChains(view, stream, &kernel.slices);
  if (!status.ok()) return status;
  kernel.target = static_cast<T*>(target);
  return LaunchBlocks(kernel, "reduction", stream);
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
  if (dtype == DataType::kFloat64) return Sum<reduce::SumKernel, double>(slices, carry, stream);
  return Sum<reduce::SumKernel, float>(slices, carry, stream);
}

Status LaunchFinish(DataType dtype, const SliceView& slices, bool transposed, void* filter_backprop, Stream stream) {
  return VisitElement(dtype, [&](auto element) {
    using T = decltype(element);
    return transposed ? Sum<reduce::TransposedSumKernel, T>(slices, filter_backprop, stream)
                      : Sum<reduce::SumKernel, T>(slices, filter_backprop, stream);
  });
}

}  // namespace wgrad::cuda
