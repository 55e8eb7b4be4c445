// Every algorithm, instruction set and type against the definition in float64, and the same bits for any number of
// threads.
#include "tf_ops/wgrad/cpu/engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/element.h"
#include "tests/engine/heap.h"
#include "tests/engine/problems.h"
#include "tests/engine/wide.h"
#include "tf_ops/wgrad/cpu/plan.h"

namespace {

using namespace wgrad;

class Threads : public Executor {
 public:
  explicit Threads(int count) : count_(count) {}
  int workers() const override { return count_; }
  void Run(int64_t tasks, const std::function<void(int64_t, int)>& run) override {
    std::atomic<int64_t> next{0};
    const auto work = [&](int worker) {
      for (int64_t task; (task = next++) < tasks;) run(task, worker);
    };
    std::vector<std::thread> helpers;
    for (int worker = 1; worker < std::min<int64_t>(count_, tasks); ++worker) helpers.emplace_back(work, worker);
    work(0);
    for (std::thread& helper : helpers) helper.join();
  }

 private:
  int count_;
};

struct Tensor {
  std::vector<char> bytes;
  std::vector<double> values;  // as rounded to the type
};

Tensor RandomTensor(DataType dtype, int64_t elements, uint64_t seed) {
  Tensor tensor;
  tensor.bytes.resize(elements * ElementSize(dtype));
  for (int64_t i = 0; i < elements; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const double value = static_cast<double>(static_cast<int64_t>(seed) >> 11) * 0x1p-52;
    SetElement(dtype, value, i, tensor.bytes.data());
    tensor.values.push_back(Element(dtype, tensor.bytes.data(), i));
  }
  return tensor;
}

std::vector<char> Run(const Problem& p, const Tensor& x, const Tensor& dy, Algorithm algorithm, const Isa& isa,
                      int threads, Algorithm* ran) {
  std::vector<char> dw(FilterElements(p) * ElementSize(p.dtype), 0x55);
  Threads executor(threads);
  Heap heap;
  const Status status =
      ComputeFilterGradient(p, x.bytes.data(), dy.bytes.data(), dw.data(), algorithm, &executor, &heap, ran, isa);
  if (!status.ok()) dw.clear();
  return dw;
}

// Relative L2 error that the numerical contract allows: 1.5e-6 and 1e-14, plus one rounding to a 16-bit type.
double Tolerance(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return 0x1p-11 + 1.5e-6;
    case DataType::kBFloat16:
      return 0x1p-8 + 1.5e-6;
    case DataType::kFloat32:
      return 1.5e-6;
    case DataType::kFloat64:
      break;
  }
  return 1e-14;
}

void Test(Problem p, DataType dtype, Layout layout) {
  p.dtype = dtype;
  p.layout = layout;
  const Tensor x = RandomTensor(dtype, InputElements(p), 1), dy = RandomTensor(dtype, OutputElements(p), 2);
  // The reference algorithm in float64 is the definition.
  Problem exact_problem = p;
  exact_problem.dtype = DataType::kFloat64;
  Tensor exact_x, exact_dy;
  exact_x.bytes.resize(x.values.size() * sizeof(double));
  exact_dy.bytes.resize(dy.values.size() * sizeof(double));
  std::memcpy(exact_x.bytes.data(), x.values.data(), exact_x.bytes.size());
  std::memcpy(exact_dy.bytes.data(), dy.values.data(), exact_dy.bytes.size());
  Algorithm ran;
  const std::vector<char> exact = Run(exact_problem, exact_x, exact_dy, Algorithm::kReference, BestIsa(), 2, &ran);

  std::vector<const Isa*> isas = SupportedIsas();
  isas.push_back(&Wide());
  for (const Isa* isa : isas) {
    for (const Algorithm algorithm :
         {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd, Algorithm::kDepthwise}) {
      const std::vector<char> dw = Run(p, x, dy, algorithm, *isa, 1, &ran);
      if (dw.empty()) {
        CHECK_TRUE(algorithm == Algorithm::kWinograd || algorithm == Algorithm::kDepthwise);
        continue;
      }
      double error = 0, norm = 0;
      for (int64_t i = 0; i < FilterElements(p); ++i) {
        const double want = Element(DataType::kFloat64, exact.data(), i);
        const double difference = Element(dtype, dw.data(), i) - want;
        error += difference * difference;
        norm += want * want;
      }
      if (!(std::sqrt(error) <= Tolerance(dtype) * std::sqrt(norm))) {
        std::cerr << Describe(p) << " by " << Name(ran) << " on " << isa->name << ": relative error "
                  << std::sqrt(error / norm) << "\n";
        Failures() = 1;
      }
      for (const int threads : {2, 3, 7, 16}) CHECK_TRUE(dw == Run(p, x, dy, algorithm, *isa, threads, &ran));
    }
  }
}

class NoMemory : public Scratch {
 public:
  void* Allocate(size_t) override { return nullptr; }
};

void TestNoMemory() {
  Problem p = Square(2, 9, 19, 35, 3, 1, 1, 0, 1);
  const Tensor x = RandomTensor(p.dtype, InputElements(p), 1), dy = RandomTensor(p.dtype, OutputElements(p), 2);
  std::vector<char> dw(FilterElements(p) * ElementSize(p.dtype));
  Threads executor(2);
  NoMemory none;
  for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
    p.layout = layout;
    for (const Algorithm algorithm : {Algorithm::kDirect, Algorithm::kWinograd}) {
      const Status status =
          ComputeFilterGradient(p, x.bytes.data(), dy.bytes.data(), dw.data(), algorithm, &executor, &none);
      CHECK_TRUE(status.code() == Code::kResourceExhausted);
    }
  }
}

class Measuring : public Heap {
 public:
  void* Allocate(size_t bytes) override {
    most_ = std::max(most_, bytes);
    return Heap::Allocate(bytes);
  }
  size_t most() const { return most_; }

 private:
  size_t most_ = 0;
};

// A task's worth for each task that there is, not for each worker.
void TestMemoryOfManyWorkers() {
  const Problem p = Square(2, 9, 19, 35, 3, 1, 1, 0, 1);
  Plan plan;
  CHECK_TRUE(MakePlan(p, Algorithm::kWinograd, BestIsa(), &plan).ok());
  CHECK_LE(plan.tasks, 8);
  const Tensor x = RandomTensor(p.dtype, InputElements(p), 1), dy = RandomTensor(p.dtype, OutputElements(p), 2);
  std::vector<char> dw(FilterElements(p) * ElementSize(p.dtype));
  Threads executor(64);
  Measuring scratch;
  CHECK_TRUE(
      ComputeFilterGradient(p, x.bytes.data(), dy.bytes.data(), dw.data(), Algorithm::kWinograd, &executor, &scratch)
          .ok());
  CHECK_EQ(scratch.most(), plan.shared_bytes + plan.tasks * plan.worker_bytes);
}

}  // namespace

int main() {
  TestNoMemory();
  TestMemoryOfManyWorkers();
  const DataType dtypes[] = {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kFloat64};
  int turn = 0;
  for (const Problem& problem : EdgeProblems()) {
    // All four types in NHWC; NCHW differs by the transpose alone, so that one type at a time will do.
    for (const DataType dtype : dtypes) Test(problem, dtype, Layout::kNHWC);
    Test(problem, dtypes[turn++ % 4], Layout::kNCHW);
  }
  return Failures();
}
