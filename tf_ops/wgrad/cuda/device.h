// What the engine asks of the CUDA runtime besides launching kernels.
#ifndef TF_OPS_WGRAD_CUDA_DEVICE_H_
#define TF_OPS_WGRAD_CUDA_DEVICE_H_

#include "tf_ops/wgrad/cuda/plan.h"
#include "tf_ops/wgrad/cuda/stream.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad::cuda {

// The calling thread's current device, and its number. An error where the build has no code that it runs.
Status QueryDevice(Device* device, int* ordinal);

// Whether `stream` is being captured into a graph. Then nothing has a time, and asking for one would end the capture.
bool IsCaptured(Stream stream);

// While it lives, the calling thread may do what a capture does not allow. In CUDA's default mode of capture, to ask
// for a time or for memory would otherwise end the capture of any thread that has one going.
class Uncaptured {
 public:
  Uncaptured();
  ~Uncaptured();
  Uncaptured(const Uncaptured&) = delete;
  Uncaptured& operator=(const Uncaptured&) = delete;

 private:
  int mode_;  // cudaStreamCaptureMode
};

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_DEVICE_H_
