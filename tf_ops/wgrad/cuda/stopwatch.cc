#include "tf_ops/wgrad/cuda/stopwatch.h"

#include <cuda_runtime_api.h>

#include "tf_ops/wgrad/cuda/device.h"

namespace wgrad::cuda {
namespace {

cudaEvent_t Event(void* event) { return static_cast<cudaEvent_t>(event); }

}  // namespace

Stopwatch::Stopwatch(Stream stream) {
  const Uncaptured uncaptured;
  cudaEvent_t start = nullptr, stop = nullptr;
  if (cudaEventCreate(&start) == cudaSuccess) start_ = start;
  if (cudaEventCreate(&stop) == cudaSuccess) stop_ = stop;
  if (active()) cudaEventRecord(Event(start_), static_cast<cudaStream_t>(stream));
  cudaGetLastError();  // a time that cannot be taken is no failure of the launch that follows
}

Stopwatch::~Stopwatch() {
  if (start_ != nullptr) cudaEventDestroy(Event(start_));
  if (stop_ != nullptr) cudaEventDestroy(Event(stop_));
}

void Stopwatch::Stop(Stream stream) {
  if (active()) cudaEventRecord(Event(stop_), static_cast<cudaStream_t>(stream));
  cudaGetLastError();
}

std::optional<float> Stopwatch::Milliseconds() const {
  const Uncaptured uncaptured;
  float milliseconds;
  if (active() && cudaEventQuery(Event(stop_)) == cudaSuccess &&
      cudaEventElapsedTime(&milliseconds, Event(start_), Event(stop_)) == cudaSuccess) {
    return milliseconds;
  }
  cudaGetLastError();  // "not ready" counts as an error, for which the next launch would be blamed
  return std::nullopt;
}

}  // namespace wgrad::cuda
