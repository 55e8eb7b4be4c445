// Random problems, computed by every algorithm that takes them on one instruction set: within the contract, and the
// same bits for any number of workers and any order of the tasks.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "tests/engine/element.h"
#include "tests/engine/heap.h"
#include "tests/engine/problems.h"
#include "tests/engine/wide.h"
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/check_input.h"
#include "tests/fuzz/definition.h"
#include "tests/fuzz/draw_problem.h"
#include "tf_ops/wgrad/cpu/engine.h"

namespace {

using namespace wgrad;

int64_t ran_count[std::size(kAlgorithmNames)], chosen_count[std::size(kAlgorithmNames)], non_finite_count = 0;

// The tasks on one thread, the last one first, where there are several workers.
class Backwards : public Executor {
 public:
  explicit Backwards(int workers) : workers_(workers) {}
  int workers() const override { return workers_; }
  void Run(int64_t tasks, const std::function<void(int64_t, int)>& run) override {
    for (int64_t i = 0; i < tasks; ++i) {
      const int64_t task = workers_ == 1 ? i : tasks - 1 - i;
      run(task, static_cast<int>(task % workers_));
    }
  }

 private:
  const int workers_;
};

enum class Data { kEven, kPositive, kRange, kNonFinite };

// A tensor that ends where its memory ends; `values` are as rounded to the type.
struct Tensor {
  Tensor(DataType dtype, int64_t elements, bool misaligned, Data data, uint64_t seed)
      : bytes((elements + misaligned) * ElementSize(dtype)), first(misaligned * ElementSize(dtype)) {
    const auto random = [&] {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      return static_cast<double>(seed >> 11) * 0x1p-53;
    };
    const int reach = dtype == DataType::kFloat16 ? 3 : 12;  // half would overflow
    for (int64_t i = 0; i < elements; ++i) {
      double value = data == Data::kPositive ? random() : 2 * random() - 1;
      if (data == Data::kRange) value = std::ldexp(value, static_cast<int>(random() * (2 * reach + 1)) - reach);
      if (data == Data::kNonFinite && random() * static_cast<double>(elements) < 2) {
        value = random() < 0.3 ? NAN : value < 0 ? -INFINITY : INFINITY;
      }
      SetElement(dtype, value, i, bytes.data() + first);
      values.push_back(Element(dtype, bytes.data() + first, i));
    }
  }
  const char* data() const { return bytes.data() + first; }

  std::vector<char> bytes;
  int64_t first;
  std::vector<double> values;
};

// What keeps `got` from being a result that the contract allows; empty if nothing does.
std::string Mistake(const Problem& p, const Definition& definition, const std::vector<char>& got) {
  double square_error = 0;
  for (int64_t i = 0; i < FilterElements(p); ++i) {
    const double value = Element(p.dtype, got.data(), i), want = definition.dw[i];
    if (std::isfinite(want) && std::isfinite(value)) {
      square_error += (value - want) * (value - want);
    } else if (!(value == want || (std::isnan(value) && std::isnan(want)))) {
      return "element " + std::to_string(i) + " is " + std::to_string(value) + " instead of " + std::to_string(want);
    }
  }
  const double allowed = AllowedError(p.dtype, definition);
  if (std::sqrt(square_error) <= allowed) return "";
  return "the error is " + std::to_string(std::sqrt(square_error) / allowed) + " times what is allowed";
}

}  // namespace

bool CheckInput(const uint8_t* data, size_t size) {
  Bytes bytes(data, size);
  const Problem p = DrawProblem(&bytes);
  std::vector<const Isa*> isas = SupportedIsas();
  isas.push_back(&Wide());
  const Isa& isa = *isas[bytes.Between(0, isas.size() - 1)];
  const int workers = static_cast<int>(bytes.Between(2, 9));
  const bool misaligned = bytes.Next() % 4 == 0;
  const Data kind = bytes.OneOf({Data::kEven, Data::kEven, Data::kPositive, Data::kRange, Data::kNonFinite});
  const uint64_t seed = bytes.Next() << 8 | bytes.Next();
  const Tensor x(p.dtype, InputElements(p), misaligned, kind, seed);
  const Tensor dy(p.dtype, OutputElements(p), misaligned, kind, ~seed);
  const Definition definition = Define(p, x.values, dy.values);
  non_finite_count += kind == Data::kNonFinite;

  bool ok = true;
  for (const Algorithm algorithm :
       {Algorithm::kAuto, Algorithm::kDirect, Algorithm::kWinograd, Algorithm::kDepthwise, Algorithm::kReference}) {
    Algorithm ran;
    const auto compute = [&](int workers, std::vector<char>* dw) {
      dw->assign(FilterElements(p) * ElementSize(p.dtype), 0x55);
      Backwards executor(workers);
      Heap heap;
      return ComputeFilterGradient(p, x.data(), dy.data(), dw->data(), algorithm, &executor, &heap, &ran, isa);
    };
    std::vector<char> dw, again;
    const Status status = compute(1, &dw);
    std::string mistake;
    if (status.ok()) {
      ++ran_count[static_cast<int>(ran)];
      if (algorithm == Algorithm::kAuto) ++chosen_count[static_cast<int>(ran)];
      mistake = Mistake(p, definition, dw);
      if (mistake.empty() && (!compute(workers, &again).ok() || again != dw)) {
        mistake = "other bits for " + std::to_string(workers) + " workers";
      }
    } else if (status.code() != Code::kInvalidArgument || algorithm == Algorithm::kAuto ||
               algorithm == Algorithm::kReference) {
      mistake = status.message();
    }
    if (mistake.empty()) continue;
    std::cerr << Describe(p) << (misaligned ? ", misaligned" : "") << ", data " << static_cast<int>(kind) << ", by "
              << Name(algorithm) << " on " << isa.name << ": " << mistake << "\n";
    ok = false;
  }
  return ok;
}

std::string Reached() {
  std::string text = "computed by";
  for (size_t i = 1; i < std::size(ran_count); ++i) {
    text += std::string(i == 1 ? " " : ", ") + kAlgorithmNames[i] + " " + std::to_string(ran_count[i]) + " (chosen " +
            std::to_string(chosen_count[i]) + ")";
  }
  return text + "; with Inf and NaN " + std::to_string(non_finite_count);
}
