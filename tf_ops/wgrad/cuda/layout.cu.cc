// The kernels that move data between layouts: NCHW -> NHWC, and slices -> HWIO.
#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(transpose::kThreads)
    TransposeKernel(const T* source, int64_t rows, int64_t columns, T* target) {
  __shared__ transpose::Shared<T> shared;
  const transpose::Tile tile = transpose::TileAt(rows, columns, blockIdx.x);
  transpose::Load(rows, columns, tile, source, threadIdx.x, &shared);
  __syncthreads();
  transpose::Store(rows, columns, tile, shared, threadIdx.x, target);
}

template <typename T>
__global__ void __launch_bounds__(reduce::kThreads) SumKernel(reduce::Slices<Accumulator<T>> slices, T* target) {
  const int64_t index = int64_t{blockIdx.x} * reduce::kThreads + threadIdx.x;
  if (index < slices.groups * slices.rows * slices.columns) reduce::Sum(slices, index, target);
}

template <typename T>
__global__ void __launch_bounds__(reduce::kThreads)
    TransposedSumKernel(reduce::Slices<Accumulator<T>> slices, T* target) {
  __shared__ transpose::Shared<Accumulator<T>> shared;
  const transpose::Tile tile = transpose::TileAt(slices.rows, slices.columns, blockIdx.x);
  reduce::Load(slices, tile, threadIdx.x, &shared);
  __syncthreads();
  reduce::Store(slices, tile, shared, threadIdx.x, target);
}

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
Status Sum(const SliceView& slices, void* target, Stream stream) {
  const auto blocks = static_cast<unsigned>(CeilDiv(slices.groups * slices.rows * slices.columns, reduce::kThreads));
  SumKernel<T><<<blocks, reduce::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(Typed<Accumulator<T>>(slices),
                                                                                   static_cast<T*>(target));
  return Check(cudaGetLastError(), "reduction");
}

template <typename T>
Status TransposedSum(const SliceView& slices, void* target, Stream stream) {
  const auto blocks = static_cast<unsigned>(transpose::Tiles(slices.groups, slices.rows, slices.columns));
  TransposedSumKernel<T><<<blocks, reduce::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      Typed<Accumulator<T>>(slices), static_cast<T*>(target));
  return Check(cudaGetLastError(), "reduction");
}

template <typename T>
Status Transpose(const void* source, int64_t images, int64_t rows, int64_t columns, void* target, Stream stream) {
  const auto blocks = static_cast<unsigned>(transpose::Tiles(images, rows, columns));
  TransposeKernel<T><<<blocks, transpose::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      static_cast<const T*>(source), rows, columns, static_cast<T*>(target));
  return Check(cudaGetLastError(), "transpose");
}

}  // namespace

Status LaunchZeros(void* target, int64_t bytes, Stream stream) {
  return Check(cudaMemsetAsync(target, 0, bytes, static_cast<cudaStream_t>(stream)), "zeros");
}

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
