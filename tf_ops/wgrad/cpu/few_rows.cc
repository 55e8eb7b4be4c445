// Pointwise convolutions of few input channels: with so few products to a pixel, to pack it would take longer than to
// multiply it. Both tensors are read once, where they lie.
#include "tf_ops/wgrad/cpu/few_rows.h"

#include <algorithm>

#include "tf_ops/wgrad/cpu/blocking.h"
#include "tf_ops/wgrad/cpu/prefetch.h"

namespace wgrad {
namespace {

// Pixels whose sums are in registers at a time.
constexpr int64_t kMaxDepth = 256;

int64_t Pixels(const Problem& p) { return p.batch * p.out_height * p.out_width; }

template <typename T>
class Task {
 public:
  Task(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop, T* sums, char* scratch)
      : p_(problem),
        plan_(plan.few_rows),
        kernels_(KernelsOf<T>(*plan.isa)),
        input_(static_cast<const T*>(input)),
        out_backprop_(static_cast<const T*>(out_backprop)),
        all_sums_(sums),
        index_(reinterpret_cast<int32_t*>(scratch)) {}

  void Run(int64_t task) {
    // Rows of dY as the micro-kernel counts them, in the panels' width.
    const int64_t width = plan_.panel_vectors * kernels_.lanes;
    for (int64_t i = 0; i < plan_.depth_block; ++i) index_[i] = static_cast<int32_t>(i * (p_.out_channels / width));
    T* sums = all_sums_ + task * p_.in_channels * p_.out_channels;
    const int64_t begin = task * plan_.blocks_per_task * plan_.depth_block;
    const int64_t end = std::min(Pixels(p_), begin + plan_.blocks_per_task * plan_.depth_block);
    for (int64_t first = begin; first < end; first += plan_.depth_block) {
      Block(first, std::min(plan_.depth_block, end - first), sums, first != begin);
    }
  }

 private:
  void Block(int64_t first, int64_t depth, T* sums, bool accumulate) {
    const T* a = input_ + first * p_.in_channels;
    const T* b = out_backprop_ + first * p_.out_channels;
    const int64_t width = plan_.panel_vectors * kernels_.lanes;
    const int64_t most_rows = kernels_.max_rows[plan_.panel_vectors];
    // The next block, in the order of the memory. Behind the last one this asks for what is not there, which does no
    // harm.
    const int64_t tiles = p_.out_channels / width * CeilDiv(p_.in_channels, most_rows);
    const int64_t bytes = depth * static_cast<int64_t>(sizeof(T));
    Lookahead next =
        SpreadEvenly({a + depth * p_.in_channels, bytes * p_.in_channels},
                     {b + depth * p_.out_channels, bytes * p_.out_channels}, depth / kLookaheadPixels * tiles);
    for (int64_t column = 0; column < p_.out_channels; column += width) {
      ForEachShare(p_.in_channels, most_rows, [&](int64_t row, int64_t rows) {
        kernels_.micro[kIndexedB][plan_.panel_vectors][rows](depth, a + row, p_.in_channels, b + column, index_,
                                                             sums + row * p_.out_channels + column, p_.out_channels,
                                                             accumulate, &next);
      });
    }
  }

  const Problem& p_;
  const FewRowsPlan& plan_;
  const Kernels<T>& kernels_;
  const T* input_;
  const T* out_backprop_;
  T* all_sums_;
  int32_t* index_;
};

}  // namespace

bool HasFewRows(const Problem& p) {
  // 32 and 32 gain 20 %, 64 and 64 nothing that shows.
  constexpr int64_t kFewRows = 32;
  return p.in_channels <= kFewRows;
}

void PlanFewRows(const Problem& p, const Isa& isa, Plan* plan) {
  const int64_t size = SumSize(p.dtype), vectors = p.out_channels / Lanes(p.dtype, isa);
  FewRowsPlan& f = plan->few_rows;
  f.panel_vectors = vectors % 3 == 0 ? 3 : vectors % 2 == 0 ? 2 : 1;
  // What a block reads stays in the first-level cache, whose lines neighbouring panels share.
  constexpr int64_t kBlockBytes = 16 << 10, kLeastDepth = 16;
  f.depth_block = std::clamp(kBlockBytes / ((p.in_channels + p.out_channels) * size), kLeastDepth, kMaxDepth);
  const int64_t blocks = CeilDiv(Pixels(p), f.depth_block);
  const int64_t sum_bytes = FilterElements(p) * size;
  // 128 KiB take a thread 10 us.
  constexpr int64_t kTaskBytes = 128 << 10, kMostTasks = 32;
  const int64_t bytes = Pixels(p) * (p.in_channels + p.out_channels) * size;
  const int64_t tasks = DepthSlices(std::clamp<int64_t>(bytes / kTaskBytes, 1, kMostTasks), blocks, sum_bytes);
  f.blocks_per_task = CeilDiv(blocks, std::max(tasks, ChainSlices(blocks, sum_bytes)));
  plan->tasks = CeilDiv(blocks, f.blocks_per_task);
  plan->shared_bytes = AlignedBytes(plan->tasks * sum_bytes);
  plan->worker_bytes = AlignedBytes(f.depth_block * static_cast<int64_t>(sizeof(int32_t)));
}

void RunFewRows(const Problem& problem, const Plan& plan, const void* input, const void* out_backprop,
                void* filter_backprop, char* shared, char* workers, Executor* executor) {
  const SumLayout layout = {problem.in_channels, 1, problem.out_channels, problem.out_channels};
  const auto run = problem.dtype == DataType::kFloat64 ? SumTasks<Task<double>, double> : SumTasks<Task<float>, float>;
  run(problem, plan, layout, plan.tasks, input, out_backprop, filter_backprop, shared, workers, executor);
}

}  // namespace wgrad
