#include "tf_ops/wgrad/cuda/device.h"

#include "tf_ops/wgrad/cuda/error.h"

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
  return status;
}

}  // namespace wgrad::cuda
