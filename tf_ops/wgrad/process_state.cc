#include "tf_ops/wgrad/process_state.h"

#include <atomic>
#include <cstdlib>
#include <mutex>

namespace wgrad {
namespace {

constexpr char kVariable[] = "TF_CONV_BACKPROP_ALGORITHM";
constexpr Algorithm kUnknown = static_cast<Algorithm>(-1);

const std::string& VariableText() {
  static const std::string* const text = [] {
    const char* value = std::getenv(kVariable);
    return new std::string(value == nullptr || *value == '\0' ? Name(Algorithm::kAuto) : value);
  }();
  return *text;
}

std::atomic<Algorithm>& Requested() {
  static std::atomic<Algorithm> requested = [] {
    Algorithm algorithm;
    return ParseAlgorithm(VariableText(), &algorithm) ? algorithm : kUnknown;
  }();
  return requested;
}

struct Counts {
  std::mutex mutex;  // guards the rest
  std::map<std::string, int64_t> runs = Zeros();

  static std::map<std::string, int64_t> Zeros() {
    std::map<std::string, int64_t> zeros;
    for (const char* name : kAlgorithmNames) zeros[name] = 0;
    zeros.erase(Name(Algorithm::kAuto));  // a request, never what ran
    return zeros;
  }
};

// Never destroyed, because threads may count while the process ends.
Counts& AllCounts() {
  static Counts* const counts = new Counts;
  return *counts;
}

}  // namespace

Status RequestedAlgorithm(Algorithm* algorithm) {
  *algorithm = Requested().load(std::memory_order_relaxed);
  if (*algorithm != kUnknown) return Status();
  std::string names;
  for (const char* name : kAlgorithmNames) names += (names.empty() ? "" : ", ") + std::string(name);
  return InvalidArgument(std::string(kVariable) + " must be one of " + names + ", got " + VariableText());
}

std::string RequestedAlgorithmName() {
  const Algorithm algorithm = Requested().load(std::memory_order_relaxed);
  return algorithm == kUnknown ? VariableText() : Name(algorithm);
}

void SetAlgorithm(Algorithm algorithm) { Requested().store(algorithm, std::memory_order_relaxed); }

void CountRun(const std::string& name) {
  Counts& counts = AllCounts();
  const std::lock_guard<std::mutex> lock(counts.mutex);
  ++counts.runs[name];
}

std::map<std::string, int64_t> RunCounts() {
  Counts& counts = AllCounts();
  const std::lock_guard<std::mutex> lock(counts.mutex);
  return counts.runs;
}

void ResetRunCounts() {
  Counts& counts = AllCounts();
  const std::lock_guard<std::mutex> lock(counts.mutex);
  counts.runs = Counts::Zeros();
}

}  // namespace wgrad
