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

}  // namespace wgrad::cuda
