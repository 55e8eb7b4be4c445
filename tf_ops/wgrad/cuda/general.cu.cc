#include "tf_ops/wgrad/cuda/general.h"

#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda {

Status LaunchGeneral(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                     void* slices, Stream stream) {
  return VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    const general::SlicesKernel<T> kernel = {problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop),
                                             slice_count, static_cast<Accumulator<T>*>(slices)};
    return LaunchBlocks(kernel, "general", stream);
  });
}

Status LaunchRepair(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                    const Marks& marks, Stream stream) {
  return VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    const general::RepairKernel<T> kernel = {problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop),
                                             static_cast<T*>(filter_backprop), marks};
    return LaunchBlocks(kernel, "repair", stream);
  });
}

}  // namespace wgrad::cuda
