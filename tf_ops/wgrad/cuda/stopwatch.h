// Times a stretch of a stream without waiting for it.
#ifndef TF_OPS_WGRAD_CUDA_STOPWATCH_H_
#define TF_OPS_WGRAD_CUDA_STOPWATCH_H_

#include <optional>

#include "tf_ops/wgrad/cuda/stream.h"

namespace wgrad::cuda {

class Stopwatch {
 public:
  // Marks the start. Inactive where the marks cannot be made.
  explicit Stopwatch(Stream stream);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void Stop(Stream stream);
  bool active() const { return start_ != nullptr && stop_ != nullptr; }
  // The time between the two marks, once the device has passed both.
  std::optional<float> Milliseconds() const;

 private:
  void* start_ = nullptr;  // cudaEvent_t
  void* stop_ = nullptr;
};

}  // namespace wgrad::cuda

#endif  // TF_OPS_WGRAD_CUDA_STOPWATCH_H_
