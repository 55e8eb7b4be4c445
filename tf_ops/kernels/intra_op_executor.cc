#include "tf_ops/kernels/intra_op_executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace tensorflow {
namespace {

using Task = std::function<void(int64_t task, int worker)>;

// One Run. It outlives the Run in helpers that the pool starts late; those find it closed and leave.
class Batch {
 public:
  Batch(int64_t tasks, const Task& run) : tasks_(tasks), run_(run) {}

  void Work(int worker) {
    for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) run_(task, worker);
  }

  void Help(int worker) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (closed_) return;
      ++helping_;
    }
    Work(worker);
    // Notified under the lock, which orders the helpers' results before the return of CloseAndWait.
    std::lock_guard<std::mutex> lock(mutex_);
    if (--helping_ == 0 && closed_) idle_.notify_one();
  }

  void CloseAndWait() {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    idle_.wait(lock, [this] { return helping_ == 0; });
  }

 private:
  const int64_t tasks_;
  const Task& run_;  // lives as long as Run, and is not touched once closed
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable idle_;
  int helping_ = 0;
  bool closed_ = false;
};

}  // namespace

void IntraOpExecutor::Run(int64_t tasks, const Task& run) {
  const int helpers = static_cast<int>(std::min<int64_t>(tasks, workers_)) - 1;
  if (helpers <= 0) {
    for (int64_t task = 0; task < tasks; ++task) run(task, 0);
    return;
  }
  const auto batch = std::make_shared<Batch>(tasks, run);
  for (int worker = 1; worker <= helpers; ++worker) {
    schedule_([batch, worker] { batch->Help(worker); });
  }
  batch->Work(0);
  batch->CloseAndWait();
}

}  // namespace tensorflow
