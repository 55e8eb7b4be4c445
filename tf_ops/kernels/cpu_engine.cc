#include "tf_ops/kernels/cpu_engine.h"

#include "tensorflow/core/platform/denormal.h"
#include "tf_ops/wgrad/process_state.h"
#include "tsl/profiler/lib/traceme.h"

namespace tensorflow {

wgrad::Status RunCpuEngine(const wgrad::Problem& problem, const void* input, const void* out_backprop,
                           void* filter_backprop, wgrad::Executor* executor, wgrad::Scratch* scratch) {
  wgrad::Algorithm requested, ran;
  if (wgrad::Status status = wgrad::RequestedAlgorithm(&requested); !status.ok()) return status;
  // As the helpers do: a session without inter-op threads calls from a thread of the user's.
  const port::ScopedFlushDenormal flush;
  tsl::profiler::TraceMe trace("wgrad", tsl::profiler::TraceMeLevel::kInfo);
  wgrad::Status status =
      wgrad::ComputeFilterGradient(problem, input, out_backprop, filter_backprop, requested, executor, scratch, &ran);
  if (!status.ok()) return status;
  trace.AppendMetadata([ran] { return tsl::profiler::TraceMeEncode({{"algorithm", wgrad::Name(ran)}}); });
  wgrad::CountRun(wgrad::Name(ran));
  return status;
}

}  // namespace tensorflow
