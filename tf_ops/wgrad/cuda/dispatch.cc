#include "tf_ops/wgrad/cuda/dispatch.h"

#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "tf_ops/wgrad/cuda/cudnn.h"
#include "tf_ops/wgrad/cuda/cudnn_library.h"
#include "tf_ops/wgrad/cuda/device.h"
#include "tf_ops/wgrad/cuda/engine.h"
#include "tf_ops/wgrad/cuda/stopwatch.h"
#include "tf_ops/wgrad/cuda/tuner.h"

namespace wgrad::cuda {
namespace {

// Its tensor-core kernels load so many bytes at once.
constexpr int64_t kCudnnAlignment = 16;

// Plans of the implicit GEMM worth measuring: plan.cc says what the ones after these are worth.
constexpr int kGemmCandidates = 8;

// Problems for which the fastest candidate is found out. What is known of each, times that nobody came back for among
// it, is kept as long as the process lives; no training has so many but one whose images all differ in size.
constexpr size_t kMostEntries = 4096;

struct Candidate {
  Plan own;
  std::optional<cudnn::CudnnPlan> cudnn;
};

// What is known of one problem on one device.
struct Entry {
  Entry(const cudnn::Functions* library, std::vector<Candidate> all)
      : cudnn_library(library), candidates(std::move(all)), tuner(candidates.size()) {}

  const cudnn::Functions* const cudnn_library;
  const std::vector<Candidate> candidates;

  std::mutex mutex;  // guards what follows
  Tuner tuner;
  std::list<std::pair<size_t, std::unique_ptr<Stopwatch>>> pending;
};

void CollectTimes(Entry* entry) {
  for (auto it = entry->pending.begin(); it != entry->pending.end();) {
    if (const std::optional<float> milliseconds = it->second->Milliseconds()) {
      entry->tuner.Record(it->first, *milliseconds);
      it = entry->pending.erase(it);
    } else {
      ++it;
    }
  }
}

void ReportNoCudnn(const Settings& settings, const std::string& why_not) {
  static std::mutex mutex;
  static auto* const reported = new std::set<std::string>();
  const std::lock_guard<std::mutex> lock(mutex);
  if (reported->insert(why_not).second) settings.report_no_cudnn(why_not);
}

const cudnn::Functions* CudnnLibrary(const Settings& settings) {
  std::string why_not;
  const cudnn::Functions* library = cudnn::Library(settings.cudnn_folder, &why_not);
  if (library == nullptr) ReportNoCudnn(settings, why_not);
  return library;
}

// nullptr where cuDNN is short of memory.
std::unique_ptr<Entry> MakeEntry(const Problem& problem, const Settings& settings, const Options& options,
                                 const Device& device, int ordinal) {
  std::vector<Candidate> candidates;
  int gemms = 0;
  for (Plan& plan : MakePlans(problem, device, options)) {
    if (plan.method == Method::kImplicitGemm && ++gemms > kGemmCandidates) continue;
    candidates.push_back({std::move(plan), std::nullopt});
  }
  const cudnn::Functions* library = nullptr;
  if (settings.use_cudnn && !settings.deterministic && cudnn::WhyNot(problem, options).empty() &&
      options.pointer_alignment % kCudnnAlignment == 0 && candidates[0].own.method != Method::kZeros) {
    const Uncaptured uncaptured;
    library = CudnnLibrary(settings);
    if (library != nullptr) {
      std::vector<cudnn::CudnnPlan> plans;
      const Status status = cudnn::Plans(*library, problem, options, ordinal, &plans);
      if (status.code() == Code::kResourceExhausted) return nullptr;
      if (!status.ok()) ReportNoCudnn(settings, status.message());
      for (const cudnn::CudnnPlan& plan : plans) candidates.push_back({Plan(), plan});
    }
  }
  return std::make_unique<Entry>(library, std::move(candidates));
}

// Every field that the choice depends on, as bytes.
using Key = std::string;

Key KeyOf(const Problem& problem, const Settings& settings, const Options& options, int ordinal) {
  static_assert(std::has_unique_object_representations_v<Problem>);
  Key key(reinterpret_cast<const char*>(&problem), sizeof(problem));
  for (const int64_t value : {int64_t{ordinal}, int64_t{settings.deterministic}, int64_t{settings.use_cudnn},
                              int64_t{options.allow_tf32}, options.pointer_alignment}) {
    key.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  return key;
}

struct Slot {
  std::mutex mutex;  // held while the entry is made: other problems need not wait for what cuDNN's first call loads
  std::unique_ptr<Entry> entry;
  uint64_t tries = 0;
};

bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

// nullptr where there is none yet and none may or can be made, or where there are too many. Where cuDNN is short of
// memory, which may last as long as the process, it is asked again ever more seldom.
Entry* FindEntry(const Problem& problem, const Settings& settings, const Options& options, const Device& device,
                 int ordinal, bool may_make) {
  static std::mutex mutex;
  static auto* const slots = new std::map<Key, Slot>();
  std::unique_lock<std::mutex> lock(mutex);
  const Key key = KeyOf(problem, settings, options, ordinal);
  if (slots->size() >= kMostEntries && slots->count(key) == 0) return nullptr;
  Slot& slot = (*slots)[key];
  lock.unlock();
  const std::lock_guard<std::mutex> slot_lock(slot.mutex);
  if (slot.entry == nullptr && may_make && IsPowerOfTwo(++slot.tries)) {
    slot.entry = MakeEntry(problem, settings, options, device, ordinal);
  }
  return slot.entry.get();
}

struct Operands {
  const void* input;
  const void* out_backprop;
  void* filter_backprop;
};

// What all pointers are multiples of, up to the 16 bytes that any candidate asks for.
int64_t Alignment(const Operands& operands) {
  const auto bits_of = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); };
  const uintptr_t bits =
      bits_of(operands.input) | bits_of(operands.out_backprop) | bits_of(operands.filter_backprop) | 16;
  return static_cast<int64_t>(bits & -bits);
}

Status AllocateWorkspace(const Candidate& candidate, const Problem& problem, const Allocate& allocate, bool may_wait,
                         void** workspace) {
  const int64_t bytes =
      candidate.cudnn ? cudnn::WorkspaceBytes(problem, *candidate.cudnn) : WorkspaceOf(problem, candidate.own).bytes;
  *workspace = nullptr;
  if (bytes == 0) return Status();
  *workspace = allocate(bytes, may_wait);
  if (*workspace != nullptr) return Status();
  return Status(Code::kResourceExhausted, "no device memory for a workspace of " + std::to_string(bytes) + " bytes");
}

Status LaunchCandidate(const cudnn::Functions* cudnn_library, const Candidate& candidate, const Problem& problem,
                       const Operands& operands, void* workspace, Stream stream, int ordinal) {
  if (candidate.cudnn) {
    return cudnn::Launch(*cudnn_library, problem, *candidate.cudnn, operands.input, operands.out_backprop,
                         operands.filter_backprop, workspace, stream, ordinal);
  }
  return Launch(problem, candidate.own, operands.input, operands.out_backprop, operands.filter_backprop, workspace,
                stream);
}

const char* NameOf(const Candidate& candidate) {
  return candidate.cudnn ? "cudnn" : kMethodNames[static_cast<int>(candidate.own.method)];
}

// One of the engine's own kernels, without measuring.
Status RunOne(const Candidate& candidate, const Problem& problem, const Operands& operands, const Allocate& allocate,
              Stream stream, int ordinal, std::string* ran) {
  void* workspace;
  Status status = AllocateWorkspace(candidate, problem, allocate, /*may_wait=*/true, &workspace);
  if (!status.ok()) return status;
  if (ran != nullptr) *ran = NameOf(candidate);
  return LaunchCandidate(nullptr, candidate, problem, operands, workspace, stream, ordinal);
}

// The planner's first plan, without measuring, or the next one where its kernel cannot be launched.
Status RunFirst(const Problem& problem, const Device& device, const Options& options, const Operands& operands,
                const Allocate& allocate, Stream stream, int ordinal, std::string* ran) {
  Status status;
  for (Plan& plan : MakePlans(problem, device, options)) {
    status = RunOne({std::move(plan), std::nullopt}, problem, operands, allocate, stream, ordinal, ran);
    if (status.ok() || status.code() == Code::kResourceExhausted) break;
  }
  return status;
}

// The plan of one method, or why there is none.
Status PlanOf(Method method, const Problem& problem, const Device& device, const Options& options, Plan* found) {
  std::vector<Declined> declined;
  for (Plan& plan : MakePlans(problem, device, options, &declined)) {
    if (plan.method == method || plan.method == Method::kZeros) {
      *found = std::move(plan);
      return Status();
    }
  }
  if (method == Method::kGeneral) {
    *found = GeneralPlan(problem, device);
    return Status();
  }
  const std::string name = kMethodNames[static_cast<int>(method)];
  std::string reason = "it has no plan for the problem";
  for (const Declined& each : declined) {
    if (each.candidate == name) reason = each.reason;
  }
  return InvalidArgument("algorithm " + name + " was asked for, but " + reason);
}

}  // namespace

Status ComputeFilterGradient(const Problem& problem, const Settings& settings, const void* input,
                             const void* out_backprop, void* filter_backprop, const Allocate& allocate, Stream stream,
                             std::string* ran) {
  Device device;
  int ordinal;
  Status status = QueryDevice(&device, &ordinal);
  if (!status.ok()) return status;
  const Operands operands = {input, out_backprop, filter_backprop};
  Options options;
  // Where the device has no tf32, leave to use it would be taken for leave to sum float32 in chains of any length.
  options.allow_tf32 = settings.allow_tf32 && device.compute_capability >= kTf32ComputeCapability;
  options.pointer_alignment = Alignment(operands);
  if (settings.only) {
    Candidate only;
    status = PlanOf(*settings.only, problem, device, options, &only.own);
    return status.ok() ? RunOne(only, problem, operands, allocate, stream, ordinal, ran) : status;
  }
  // To ask cuDNN for its plans would spoil a capture.
  const bool captured = IsCaptured(stream);
  Entry* entry = FindEntry(problem, settings, options, device, ordinal, /*may_make=*/!captured);
  if (entry == nullptr) return RunFirst(problem, device, options, operands, allocate, stream, ordinal, ran);
  // A candidate that fails gives way to the others: in this call for want of memory, or under a capture, which
  // something else may have ended; otherwise, as where cuDNN declines after all, for good.
  std::vector<size_t> failed_in_this_call;
  const auto forgive = [&] {
    for (const size_t candidate : failed_in_this_call) entry->tuner.Forgive(candidate);
    failed_in_this_call.clear();
  };
  const bool measures = !captured && !settings.deterministic;
  for (size_t tries = 1; tries <= entry->candidates.size(); ++tries) {
    // Where bits must not depend on the memory that there is, the first one waits for it.
    const bool last = tries == entry->candidates.size() || settings.deterministic;
    Tuner::Turn turn;
    {
      const std::lock_guard<std::mutex> lock(entry->mutex);
      if (!captured) CollectTimes(entry);
      if (last) forgive();
      turn = measures ? entry->tuner.Next() : Tuner::Turn{entry->tuner.Best(), false};
    }
    const Candidate& candidate = entry->candidates[turn.candidate];
    const bool measure = turn.measure && entry->candidates.size() > 1;
    void* workspace;
    status = AllocateWorkspace(candidate, problem, allocate, /*may_wait=*/last, &workspace);
    std::unique_ptr<Stopwatch> stopwatch;
    if (status.ok()) {
      if (measure) stopwatch = std::make_unique<Stopwatch>(stream);
      status = LaunchCandidate(entry->cudnn_library, candidate, problem, operands, workspace, stream, ordinal);
      if (stopwatch != nullptr) stopwatch->Stop(stream);
    }
    const std::lock_guard<std::mutex> lock(entry->mutex);
    if (status.ok()) {
      if (stopwatch != nullptr && stopwatch->active()) {
        entry->pending.emplace_back(turn.candidate, std::move(stopwatch));
      }
      if (ran != nullptr) *ran = NameOf(candidate);
      break;
    }
    entry->tuner.Fail(turn.candidate);
    if (captured || status.code() == Code::kResourceExhausted) failed_in_this_call.push_back(turn.candidate);
    if (settings.deterministic && status.code() == Code::kResourceExhausted) break;
  }
  {
    const std::lock_guard<std::mutex> lock(entry->mutex);
    forgive();
  }
  if (status.code() != Code::kResourceExhausted || settings.deterministic) return status;
  const Candidate frugal = {FrugalPlan(problem, device), std::nullopt};
  return RunOne(frugal, problem, operands, allocate, stream, ordinal, ran);
}

}  // namespace wgrad::cuda
