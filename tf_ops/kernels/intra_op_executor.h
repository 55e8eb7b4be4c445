// The engine's tasks on TensorFlow's intra-op threads.
#ifndef TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_
#define TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <utility>

#include "tensorflow/core/platform/threadpool.h"
#include "tf_ops/wgrad/cpu/engine.h"

namespace tensorflow {

// The caller is one of the workers and can do every task itself: it never waits for a pool thread to become free, only
// for tasks that one has begun. So Run returns even when the whole pool is blocked, or when it is itself on the pool.
class IntraOpExecutor : public wgrad::Executor {
 public:
  // Runs `work` on some thread of the pool, now or later.
  using Schedule = std::function<void(std::function<void()> work)>;

  IntraOpExecutor(Schedule schedule, int workers) : schedule_(std::move(schedule)), workers_(workers) {}
  IntraOpExecutor(thread::ThreadPool* pool, int workers)
      : IntraOpExecutor([pool](std::function<void()> work) { pool->Schedule(std::move(work)); }, workers) {}

  int workers() const override { return workers_; }
  void Run(int64_t tasks, const std::function<void(int64_t task, int worker)>& run) override;

 private:
  const Schedule schedule_;
  const int workers_;
};

}  // namespace tensorflow

#endif  // TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_
