#include "tf_ops/wgrad/process_state.h"

#include <atomic>
#include <cstdlib>
#include <iterator>

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

std::atomic<int64_t> run_counts[std::size(kAlgorithmNames)];

std::atomic<int64_t>& CounterOf(Algorithm algorithm) { return run_counts[static_cast<int>(algorithm)]; }

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

void CountRun(Algorithm algorithm) { CounterOf(algorithm).fetch_add(1, std::memory_order_relaxed); }

int64_t RunCount(Algorithm algorithm) { return CounterOf(algorithm).load(std::memory_order_relaxed); }

void ResetRunCounts() {
  for (std::atomic<int64_t>& count : run_counts) count.store(0, std::memory_order_relaxed);
}

}  // namespace wgrad
