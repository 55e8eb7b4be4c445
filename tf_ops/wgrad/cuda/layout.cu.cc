// The kernels that move data between layouts, NCHW -> NHWC, folding, and slices or KRSC -> HWIO; and the one that
// repairs what is HWIO already.
#include "tf_ops/wgrad/cuda/fold.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/repair.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda {
namespace {

// Of a multiprocessor. What these kernels wait for is memory, and the registers are what few elements in need of repair
// would have.
constexpr int kBlocks = 5;

// From this many elements on, the wide tiles are blocks enough: 256 of 32 x 32.
constexpr int64_t kWideTileElements = int64_t{1} << 18;

// The slices in packs. Several chains of slices become one slice each first.
template <typename A, int width>
Status SumChains(const SliceView& view, Stream stream, reduce::Slices<Pack<A, width>>* slices) {
  using V = Pack<A, width>;
  const int64_t columns = view.columns / width;
  const int64_t size = view.rows * columns;
  V* data = static_cast<V*>(view.data);
  *slices = {data,
             static_cast<const V*>(view.carry),
             view.count,
             size,
             view.count * size,
             view.groups,
             view.rows,
             columns,
             view.tap_columns,
             view.tap_channels};
  const reduce::ChainsKernel<V> chains = {data, view.count, view.groups, size};
  if (chains.Chains() == 1) return Status();
  slices->count = chains.Chains();
  slices->stride = reduce::kChain * size;
  return LaunchBlocks<kBlocks>(chains, "reduction of chains", stream);
}

template <typename Kernel, typename Target>
Status SumWith(const SliceView& view, void* target, const Original* original, Stream stream) {
  Kernel kernel;
  const Status status = SumChains(view, stream, &kernel.slices);
  if (!status.ok()) return status;
  kernel.target = static_cast<Target*>(target);
  kernel.repair = {original, target};
  return LaunchBlocks<kBlocks>(kernel, "reduction", stream);
}

template <typename T>
constexpr int kWide = 16 / sizeof(Accumulator<T>);

template <typename T>
Status Sum(const SliceView& view, void* target, const Original* original, Stream stream) {
  if (view.columns % kWide<T> == 0 && reinterpret_cast<uintptr_t>(target) % 16 == 0) {
    return SumWith<reduce::SumKernel<T, kWide<T>>, Pack<T, kWide<T>>>(view, target, original, stream);
  }
  return SumWith<reduce::SumKernel<T, 1>, Pack<T, 1>>(view, target, original, stream);
}

template <typename T>
Status TransposedSum(const SliceView& view, void* target, const Original* original, Stream stream) {
  if (view.columns % kWide<T> == 0 && view.groups * view.rows * view.columns >= kWideTileElements) {
    return SumWith<reduce::TransposedSumKernel<T, kWide<T>>, T>(view, target, original, stream);
  }
  return SumWith<reduce::TransposedSumKernel<T, 1>, T>(view, target, original, stream);
}

template <typename T, int width>
Status TransposePacks(const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                      const Original* original, Stream stream) {
  const transpose::Kernel<T, width> kernel = {
      static_cast<const T*>(source), images, rows, columns, static_cast<T*>(target), {original, target}};
  return LaunchBlocks<kBlocks>(kernel, "transpose", stream);
}

Status TransposeInto(DataType dtype, const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                     const Original* original, Stream stream) {
  return VisitElement(dtype, [&](auto element) {
    using T = decltype(element);
    constexpr int kWidth = sizeof(T) == 8 ? 2 : 4;
    const auto addresses = reinterpret_cast<uintptr_t>(source) | reinterpret_cast<uintptr_t>(target);
    return rows % kWidth == 0 && columns % kWidth == 0 && addresses % (kWidth * sizeof(T)) == 0
               ? TransposePacks<T, kWidth>(source, images, rows, columns, target, original, stream)
               : TransposePacks<T, 1>(source, images, rows, columns, target, original, stream);
  });
}

template <typename T>
Status Fold(const Problem& p, const void* input, void* folded, Stream stream) {
  const int64_t taps = p.filter_width * p.in_channels;
  const fold::Kernel<T> kernel = {static_cast<const T*>(input),
                                  p.batch * p.in_height,
                                  p.in_width * p.in_channels,
                                  p.out_width,
                                  p.stride_width * p.in_channels,
                                  p.pad_left * p.in_channels,
                                  taps,
                                  CeilDiv(taps, fold::Kernel<T>::kWidth),
                                  static_cast<Pack<T, fold::Kernel<T>::kWidth>*>(folded)};
  return LaunchBlocks<kBlocks>(kernel, "fold", stream);
}

}  // namespace

Status LaunchTranspose(DataType dtype, const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                       Stream stream) {
  return TransposeInto(dtype, source, images, rows, columns, target, nullptr, stream);
}

Status LaunchTransposedFilter(DataType dtype, const void* krsc, int64_t out_channels, int64_t filter_rows,
                              void* filter_backprop, const Original* original, Stream stream) {
  return TransposeInto(dtype, krsc, 1, out_channels, filter_rows, filter_backprop, original, stream);
}

Status LaunchFold(const Problem& problem, const void* input, void* folded, Stream stream) {
  return ElementSize(problem.dtype) == 2 ? Fold<uint16_t>(problem, input, folded, stream)
                                         : Fold<uint32_t>(problem, input, folded, stream);
}

Status LaunchRepair(const Original& original, void* filter_backprop, Stream stream) {
  return VisitElement(original.problem->dtype, [&](auto element) {
    const RepairKernel<decltype(element)> kernel = {{&original, filter_backprop}, FilterElements(*original.problem)};
    return LaunchBlocks<kBlocks>(kernel, "repair", stream);
  });
}

Status LaunchCarry(DataType dtype, const SliceView& slices, void* carry, Stream stream) {
  return dtype == DataType::kFloat64 ? Sum<double>(slices, carry, nullptr, stream)
                                     : Sum<float>(slices, carry, nullptr, stream);
}

Status LaunchFinish(DataType dtype, const SliceView& slices, bool transposed, void* filter_backprop,
                    const Original* original, Stream stream) {
  return VisitElement(dtype, [&](auto element) {
    using T = decltype(element);
    return transposed ? TransposedSum<T>(slices, filter_backprop, original, stream)
                      : Sum<T>(slices, filter_backprop, original, stream);
  });
}

}  // namespace wgrad::cuda
