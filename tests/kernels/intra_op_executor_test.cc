// IntraOpExecutor on pools that are idle, blocked, too small, or the caller's own. What must not hang is a test that
// Bazel ends.
#include "tf_ops/kernels/intra_op_executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/platform/logging.h"
#include "tensorflow/core/platform/threadpool.h"

namespace tensorflow {
namespace {

class Gate {
 public:
  void Open() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    opened_.notify_all();
  }
  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    opened_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

std::unique_ptr<thread::ThreadPool> Pool(int threads) {
  return std::make_unique<thread::ThreadPool>(Env::Default(), "test", threads);
}

// Runs tasks that each check that they run once, and alone on their worker.
void RunChecked(IntraOpExecutor* executor, int64_t tasks) {
  std::vector<std::atomic<int>> runs(tasks);
  std::vector<std::atomic<int>> busy(executor->workers());
  executor->Run(tasks, [&](int64_t task, int worker) {
    CHECK_LE(0, worker);
    CHECK_LE(worker, std::min<int64_t>(tasks, executor->workers()) - 1);
    CHECK_EQ(busy[worker].fetch_add(1), 0);
    runs[task].fetch_add(1);
    std::this_thread::yield();
    CHECK_EQ(busy[worker].fetch_sub(1), 1);
  });
  // Plain reads: Run has waited for every task.
  for (const std::atomic<int>& run : runs) CHECK_EQ(run.load(), 1);
}

void TestEveryTaskRunsOnce() {
  for (int threads : {1, 2, 7}) {
    const auto pool = Pool(threads);
    IntraOpExecutor executor(pool.get(), threads);
    for (int64_t tasks : {0, 1, 2, 3, 8, 100}) {
      for (int repetition = 0; repetition < 20; ++repetition) RunChecked(&executor, tasks);
    }
  }
}

// Two tasks that wait for each other finish only if two threads run them.
void TestPoolHelps() {
  const auto pool = Pool(2);
  IntraOpExecutor executor(pool.get(), 2);
  Gate gates[2];
  executor.Run(2, [&](int64_t task, int) {
    gates[task].Open();
    gates[1 - task].Wait();
  });
}

void TestOneTaskAndOneWorkerStayOnTheCaller() {
  const auto pool = Pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  IntraOpExecutor many(pool.get(), 3), one(pool.get(), 1);
  many.Run(1, [&](int64_t, int worker) {
    CHECK_EQ(worker, 0);
    CHECK(std::this_thread::get_id() == caller);
  });
  one.Run(5, [&](int64_t, int worker) {
    CHECK_EQ(worker, 0);
    CHECK(std::this_thread::get_id() == caller);
  });
}

void TestReturnsWhileThePoolIsBlocked() {
  const auto pool = Pool(2);
  Gate release;
  for (int i = 0; i < 2; ++i) pool->Schedule([&release] { release.Wait(); });
  IntraOpExecutor executor(pool.get(), 2);
  for (int repetition = 0; repetition < 20; ++repetition) RunChecked(&executor, 10);
  // What was scheduled meanwhile starts only now, after the Runs have returned and their tasks are gone.
  release.Open();
}

void TestNestedOnItsOwnPool() {
  const auto pool = Pool(2);
  IntraOpExecutor executor(pool.get(), 2);
  std::atomic<int> runs{0};
  executor.Run(8, [&](int64_t, int) { executor.Run(8, [&](int64_t, int) { ++runs; }); });
  CHECK_EQ(runs.load(), 64);
}

void TestManyCallersAtOnce() {
  const auto pool = Pool(2);
  IntraOpExecutor executor(pool.get(), 2);
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 16; ++caller) {
    callers.emplace_back([&executor] {
      for (int repetition = 0; repetition < 50; ++repetition) RunChecked(&executor, 5);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Also on threads that do not by themselves.
void TestHelpersFlushDenormals() {
  std::vector<std::thread> threads;
  IntraOpExecutor executor([&threads](std::function<void()> work) { threads.emplace_back(std::move(work)); }, 2);
  Gate helped;
  const std::thread::id caller = std::this_thread::get_id();
  executor.Run(2, [&](int64_t, int) {
    if (std::this_thread::get_id() == caller) return helped.Wait();
    const volatile float smallest = std::numeric_limits<float>::min();
    CHECK_EQ(smallest / 2, 0);
    helped.Open();
  });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tensorflow

int main() {
  tensorflow::TestEveryTaskRunsOnce();
  tensorflow::TestPoolHelps();
  tensorflow::TestOneTaskAndOneWorkerStayOnTheCaller();
  tensorflow::TestReturnsWhileThePoolIsBlocked();
  tensorflow::TestNestedOnItsOwnPool();
  tensorflow::TestManyCallersAtOnce();
  tensorflow::TestHelpersFlushDenormals();
}
