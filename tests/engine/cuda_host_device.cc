// The functions of device.h and stopwatch.h on the host, where a stream is done as soon as it is asked for anything.
#include "tests/engine/cuda_host_device.h"

#include <chrono>

#include "tf_ops/wgrad/cuda/device.h"
#include "tf_ops/wgrad/cuda/stopwatch.h"

namespace wgrad::cuda {
namespace {

using Clock = std::chrono::steady_clock;

Clock::time_point* TimeOf(void* mark) { return static_cast<Clock::time_point*>(mark); }

}  // namespace

Status QueryDevice(Device* device, int* ordinal) {
  *device = host_device.device;
  *ordinal = host_device.ordinal;
  return Status();
}

bool IsCaptured(Stream) { return host_device.captured; }

Uncaptured::Uncaptured() : mode_(0) {}

Uncaptured::~Uncaptured() = default;

Stopwatch::Stopwatch(Stream) : start_(new Clock::time_point(Clock::now())), stop_(new Clock::time_point()) {}

Stopwatch::~Stopwatch() {
  delete TimeOf(start_);
  delete TimeOf(stop_);
}

void Stopwatch::Stop(Stream) { *TimeOf(stop_) = Clock::now(); }

std::optional<float> Stopwatch::Milliseconds() const {
  return std::chrono::duration<float, std::milli>(*TimeOf(stop_) - *TimeOf(start_)).count();
}

}  // namespace wgrad::cuda
