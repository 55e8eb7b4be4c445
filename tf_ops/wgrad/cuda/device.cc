#include "tf_ops/wgrad/cuda/device.h"

#include "tf_ops/wgrad/cuda/error.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/plan.h"

namespace wgrad::cuda {

Status QueryDevice(Device* device, int* ordinal) {
  Status status = Check(cudaGetDevice(ordinal), "cudaGetDevice");
  if (!status.ok()) return status;
  int major = 0, minor = 0;
  const auto query = [&](cudaDeviceAttr attribute, int* value) {
    if (status.ok()) status = Check(cudaDeviceGetAttribute(value, attribute, *ordinal), "cudaDeviceGetAttribute");
  };
  query(cudaDevAttrComputeCapabilityMajor, &major);
  query(cudaDevAttrComputeCapabilityMinor, &minor);
  query(cudaDevAttrMultiProcessorCount, &device->multiprocessors);
  device->compute_capability = 10 * major + minor;
  return status.ok() ? CheckDevice(*device, WGRAD_CUDA_OLDEST) : status;
}

bool IsCaptured(Stream stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  const Status status = Check(cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &capture), "capture");
  return !status.ok() || capture != cudaStreamCaptureStatusNone;
}

Uncaptured::Uncaptured() {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  mode_ = mode;
}

Uncaptured::~Uncaptured() {
  auto mode = static_cast<cudaStreamCaptureMode>(mode_);
  cudaThreadExchangeStreamCaptureMode(&mode);
}

Status LaunchZeros(void* target, int64_t bytes, Stream stream) {
  return Check(cudaMemsetAsync(target, 0, bytes, static_cast<cudaStream_t>(stream)), "zeros");
}

}  // namespace wgrad::cuda
