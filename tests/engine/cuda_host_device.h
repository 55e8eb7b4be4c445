// A device made of the host, whose state the tests set.
#ifndef TESTS_ENGINE_CUDA_HOST_DEVICE_H_
#define TESTS_ENGINE_CUDA_HOST_DEVICE_H_

#include <set>

#include "tf_ops/wgrad/cuda/plan.h"

namespace wgrad::cuda {

struct HostDevice {
  Device device = {80, 108};
  int ordinal = 0;
  bool captured = false;        // every stream
  std::set<InstanceId> broken;  // cannot be launched
};

inline HostDevice host_device;

}  // namespace wgrad::cuda

#endif  // TESTS_ENGINE_CUDA_HOST_DEVICE_H_
