// The engine's tasks on TensorFlow's intra-op threads.
#ifndef TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_
#define TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_

#include <cstdint>
#include <functional>

#include "tensorflow/core/platform/threadpool.h"
#include "tf_ops/wgrad/cpu/engine.h"

namespace tensorflow {

// The caller is one of the workers and can do every task itself: it never waits for a pool thread to become free, only
// for tasks that one has begun. So Run returns even when the whole pool is blocked, or when it is itself on the pool.
class IntraOpExecutor : public wgrad::Executor {
 public:
  IntraOpExecutor(thread::ThreadPool* pool, int workers) : pool_(pool), workers_(workers) {}

  int workers() const override { return workers_; }
  void Run(int64_t tasks, const std::function<void(int64_t task, int worker)>& run) override;

 private:
  thread::ThreadPool* const pool_;
  const int workers_;
};

}  // namespace tensorflow

#endif  // TF_OPS_KERNELS_INTRA_OP_EXECUTOR_H_
