#include "tf_ops/wgrad/cpu/engine.h"

#include <algorithm>
#include <utility>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/depthwise.h"
#include "tf_ops/wgrad/cpu/direct.h"
#include "tf_ops/wgrad/cpu/direct_in_place.h"
#include "tf_ops/wgrad/cpu/plan.h"
#include "tf_ops/wgrad/cpu/pointwise.h"
#include "tf_ops/wgrad/cpu/reference.h"
#include "tf_ops/wgrad/cpu/strip_direct.h"
#include "tf_ops/wgrad/cpu/thin_groups.h"
#include "tf_ops/wgrad/cpu/transpose.h"
#include "tf_ops/wgrad/cpu/winograd.h"

namespace wgrad {
namespace {

struct Block {
  char* memory = nullptr;
  size_t bytes = 0;
};

// Makes `block` one of at least so many bytes.
Status Reserve(size_t bytes, Scratch* scratch, Block* block) {
  if (bytes <= block->bytes) return Status();
  *block = {static_cast<char*>(scratch->Allocate(bytes)), bytes};
  if (block->memory != nullptr) return Status();
  return Status(Code::kResourceExhausted, "cannot allocate " + std::to_string(bytes) + " bytes of scratch memory");
}

// As RunDirect, by whichever way of the direct algorithm is planned for this very problem.
bool RunDirectAsPlanned(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                        void* filter_backprop, char* shared, char* workers, Executor* executor) {
  if (plan.in_place) {
    const auto run = IsPointwise(problem) ? RunPointwise : RunDirectInPlace;
    run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
    return true;
  }
  const auto run = plan.strips ? RunStripDirect : RunDirect;
  return run(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
}

// As RunDirect. The exchanged problem's dW takes the end of the shared memory.
bool RunExchanged(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                  void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const int64_t element_size = ElementSize(problem.dtype);
  char* exchanged = workers - AlignedBytes(FilterElements(problem) * element_size);
  const bool accurate =
      RunDirectAsPlanned(Exchanged(problem), plan, out_backprop, input, exchanged, shared, workers, executor);
  const int64_t taps = Taps(problem);
  const int64_t tap_bytes = problem.in_channels * problem.out_channels * element_size;
  executor->Run(taps, [&](int64_t tap, int) {
    TransposeOf(*plan.isa, element_size)(exchanged + (taps - 1 - tap) * tap_bytes, problem.in_channels,
                                         problem.out_channels, problem.in_channels, /*streaming=*/false,
                                         static_cast<char*>(filter_backprop) + tap * tap_bytes, problem.out_channels);
  });
  return accurate;
}

// dW, or its transpose, from the diagonal blocks of the bundled problem's.
template <typename T>
void AddDiagonalBlocks(const Problem& problem, int64_t pixels, const T* product, T* filter_backprop) {
  const int64_t channels = problem.in_channels, filters = problem.out_channels;
  const bool transposed = channels > filters;
  const int64_t rows = std::min(channels, filters), columns = std::max(channels, filters);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      T sum = 0;
      for (int64_t pixel = 0; pixel < pixels; ++pixel) {
        sum += product[((pixel * rows + row) * pixels + pixel) * columns + column];
      }
      filter_backprop[transposed ? column * filters + row : row * filters + column] = sum;
    }
  }
}

// As RunDirect. The bundled problem's dW takes the end of the shared memory.
bool RunBundled(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const Problem bundled = Bundled(problem, plan.bundled_pixels);
  char* product = workers - AlignedBytes(FilterElements(bundled) * ElementSize(problem.dtype));
  if (problem.in_channels > problem.out_channels) std::swap(input, out_backprop);
  bool accurate = true;
  if (plan.in_place) {
    RunPointwise(bundled, plan, input, out_backprop, product, shared, workers, executor);
  } else {
    accurate = RunDirect(bundled, plan, input, out_backprop, product, shared, workers, executor);
  }
  const auto add = [&](auto* sums) {
    AddDiagonalBlocks(problem, plan.bundled_pixels, reinterpret_cast<decltype(sums)>(product), sums);
  };
  if (problem.dtype == DataType::kFloat64) {
    add(static_cast<double*>(filter_backprop));
  } else {
    add(static_cast<float*>(filter_backprop));
  }
  return accurate;
}

// Workers that may have a task which takes scratch memory. Of the direct algorithm's, their number decides how many.
int64_t ScratchWorkers(const Plan& plan, const Executor& executor) {
  if (plan.algorithm == Algorithm::kDirect && !plan.strips) return executor.workers();
  return std::min<int64_t>(executor.workers(), plan.tasks);
}

// `accurate` receives whether dW is the definition's: its Inf and NaN, and its digits.
Status RunPlan(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
               void* filter_backprop, Executor* executor, Scratch* scratch, Block* block, bool* accurate) {
  Status status = Reserve(plan.shared_bytes + plan.worker_bytes * ScratchWorkers(plan, *executor), scratch, block);
  if (!status.ok()) return status;
  char* shared = block->memory;
  char* workers = shared + plan.shared_bytes;
  *accurate = true;
  switch (plan.algorithm) {
    case Algorithm::kDirect:
      if (plan.bundled_pixels > 0) {
        *accurate = RunBundled(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      } else if (plan.exchanged) {
        *accurate = RunExchanged(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      } else if (plan.folded) {
        *accurate = RunDirect(Folded(problem), plan, input, out_backprop, filter_backprop, shared, workers, executor);
      } else {
        *accurate = RunDirectAsPlanned(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      }
      break;
    case Algorithm::kWinograd:
      *accurate = RunWinograd(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      break;
    case Algorithm::kDepthwise:
      if (plan.strips) {
        *accurate = RunThinGroups(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      } else {
        RunDepthwise(problem, plan, input, out_backprop, filter_backprop, shared, workers, executor);
      }
      break;
    default:
      ReferenceFilterGradient(problem, input, out_backprop, filter_backprop, executor);
  }
  return Status();
}

// Points input and out_backprop to NHWC copies.
Status Transpose(const Problem& p, const Isa& isa, const void** input, const void** out_backprop, Executor* executor,
                 Scratch* scratch) {
  const int64_t element_size = ElementSize(p.dtype);
  const int64_t input_bytes = AlignedBytes(InputElements(p) * element_size);
  Block block;
  Status status = Reserve(input_bytes + AlignedBytes(OutputElements(p) * element_size), scratch, &block);
  if (!status.ok()) return status;
  char* copies = block.memory;
  TransposeToNHWC(isa, element_size, p.batch, p.in_channels, p.in_height * p.in_width, *input, copies, executor);
  *input = copies;
  TransposeToNHWC(isa, element_size, p.batch, p.out_channels, p.out_height * p.out_width, *out_backprop,
                  copies + input_bytes, executor);
  *out_backprop = copies + input_bytes;
  return Status();
}

}  // namespace

Status ComputeFilterGradient(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                             Algorithm algorithm, Executor* executor, Scratch* scratch, Algorithm* ran,
                             const Isa& isa) {
  Plan plan;
  Status status = MakePlan(problem, algorithm, isa, &plan);
  if (!status.ok()) return status;
  if (ran != nullptr) *ran = plan.algorithm;
  if (plan.transpose) {
    status = Transpose(problem, isa, &input, &out_backprop, executor, scratch);
    if (!status.ok()) return status;
  }
  Block block;  // for both tries
  bool accurate = false;
  status = RunPlan(problem, plan, input, out_backprop, filter_backprop, executor, scratch, &block, &accurate);
  if (!status.ok() || accurate) return status;

  // An Inf or NaN, or an overflow on the way, may have reached elements of dW that the definition keeps apart from it;
  // or Winograd's products have cancelled.
  MakeExactPlan(problem, isa, &plan);
  if (ran != nullptr) *ran = plan.algorithm;
  return RunPlan(problem, plan, input, out_backprop, filter_backprop, executor, scratch, &block, &accurate);
}

}  // namespace wgrad
