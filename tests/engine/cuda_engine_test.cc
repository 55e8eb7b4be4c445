// Every plan for many problems, run on the host through cuda_host_kernels.cc, against the definition in float64.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/cuda_problems.h"
#include "tf_ops/wgrad/cuda/engine.h"
#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda {
namespace {

constexpr Device kA100 = {80, 108};
constexpr Device kTuring = {75, 40};
constexpr Device kHopper = {90, 132};

std::vector<double> Run(const Problem& p, const Plan& plan, const Tensors& tensors) {
  const int64_t workspace_bytes = WorkspaceOf(p, plan).bytes;
  std::vector<char> workspace(workspace_bytes, '\xff');  // NaN in every type
  const std::vector<char> margin(4096, '\x5a');
  workspace.insert(workspace.end(), margin.begin(), margin.end());
  std::vector<char> bytes(FilterElements(p) * ElementSize(p.dtype), '\xff');
  const Status status = Launch(p, plan, tensors.input_bytes.data(), tensors.out_backprop_bytes.data(), bytes.data(),
                               workspace.data(), nullptr);
  CHECK_EQ(status.message(), "");
  CHECK_TRUE(std::equal(margin.begin(), margin.end(), workspace.begin() + workspace_bytes));
  return Decode(p, bytes);
}

std::vector<Plan> AllPlans(const Problem& p, const Device& device) {
  Options no_tf32;
  no_tf32.allow_tf32 = false;
  std::vector<Plan> plans = MakePlans(p, device, {});
  for (const Plan& plan : MakePlans(p, device, no_tf32)) plans.push_back(plan);
  // As large problems would have it: several slices, and one image in a round.
  for (size_t i = 0, count = plans.size(); i < count; ++i) {
    Plan plan = plans[i];
    if (plan.method == Method::kZeros) continue;
    plan.slices = 5;
    plans.push_back(plan);
    plan.images_per_round = 2;
    plan.slices = 33;  // two chains
    plans.push_back(plan);
  }
  return plans;
}

void TestAgainstTheDefinition() {
  int ran[4] = {};
  for (const Device& device : {kA100, kTuring, kHopper}) {
    for (Problem p : Shapes()) {
      for (DataType dtype : {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kFloat64}) {
        for (Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
          p.dtype = dtype;
          p.layout = layout;
          Tensors tensors = RandomTensors(p);
          EncodeAll(p, &tensors);
          const std::vector<double> expected = Definition(p, tensors);
          for (const Plan& plan : AllPlans(p, device)) {
            const double error = RelativeError(Run(p, plan, tensors), expected);
            CHECK_LE(error, Tolerance(dtype));
            if (!(error <= Tolerance(dtype))) std::cerr << "  " << Describe(p, plan) << "\n";
            ++ran[static_cast<int>(plan.method)];
          }
        }
      }
    }
  }
  CHECK_LE(1, ran[static_cast<int>(Method::kImplicitGemm)]);
  CHECK_LE(1, ran[static_cast<int>(Method::kDepthwise)]);
  CHECK_LE(1, ran[static_cast<int>(Method::kGeneral)]);
}

// Inf at a corner of dY reaches only the taps that are inside X there.
void CheckThatInfStaysWhereTheDefinitionPutsIt(const Problem& p, const Device& device) {
  Tensors tensors = RandomTensors(p);
  tensors.out_backprop[0] = std::numeric_limits<double>::infinity();
  EncodeAll(p, &tensors);
  const std::vector<double> expected = Definition(p, tensors);
  for (const Plan& plan : AllPlans(p, device)) {
    const std::vector<double> actual = Run(p, plan, tensors);
    int different = 0;
    for (size_t i = 0; i < actual.size(); ++i) {
      different += std::isnan(actual[i]) != std::isnan(expected[i]) || std::isinf(actual[i]) != std::isinf(expected[i]);
    }
    CHECK_EQ(different, 0);
  }
}

void TestNonFiniteStaysWhereTheDefinitionPutsIt() {
  for (Problem p : Shapes()) {
    for (DataType dtype : {DataType::kFloat32, DataType::kFloat16}) {
      p.dtype = dtype;
      CheckThatInfStaysWhereTheDefinitionPutsIt(p, kA100);
      CheckThatInfStaysWhereTheDefinitionPutsIt(p, kHopper);
    }
  }
}

// Enough elements for the wide tiles of the reductions.
void TestLargeFilter() {
  Problem p = Window(Make(1, 2, 2, 64, 1, 512, 3, 3), 1, 1, 1, 1, 1, 1);
  for (DataType dtype : {DataType::kFloat16, DataType::kFloat32, DataType::kFloat64}) {
    p.dtype = dtype;
    Tensors tensors = RandomTensors(p);
    EncodeAll(p, &tensors);
    const std::vector<double> expected = Definition(p, tensors);
    for (Plan plan : MakePlans(p, kA100, {})) {
      plan.slices = 2;
      CHECK_LE(RelativeError(Run(p, plan, tensors), expected), Tolerance(dtype));
    }
  }
  p.dtype = DataType::kFloat16;
  CheckThatInfStaysWhereTheDefinitionPutsIt(p, kA100);
}

// Whose rows are filled up in the slices.
void TestFoldedWideFilter() {
  Problem p = Window(Make(1, 3, 3, 3, 1, 5000, 3, 3), 1, 1, 1, 1, 1, 1);
  p.dtype = DataType::kFloat16;
  Tensors tensors = RandomTensors(p);
  EncodeAll(p, &tensors);
  const std::vector<double> expected = Definition(p, tensors);
  for (const Plan& plan : AllPlans(p, kA100)) {
    CHECK_LE(RelativeError(Run(p, plan, tensors), expected), Tolerance(p.dtype));
  }
}

// Inf and NaN where the definition has finite numbers: NaN is computed again, and Inf where it may be tf32's.
void TestRepair() {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (DataType dtype : {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kFloat64}) {
    Problem p = Window(Make(2, 7, 9, 8, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1);
    p.dtype = dtype;
    Tensors tensors = RandomTensors(p);
    EncodeAll(p, &tensors);
    const std::vector<double> expected = Definition(p, tensors);
    std::vector<double> broken = expected;
    broken[5] = std::numeric_limits<double>::quiet_NaN();
    broken[6] = kInf;
    std::vector<char> bytes;
    VisitElement(dtype, [&](auto element) { Encode<decltype(element)>(&broken, &bytes); });
    const Original original = {&p, tensors.input_bytes.data(), tensors.out_backprop_bytes.data()};
    CHECK_EQ(LaunchRepair(original, bytes.data(), nullptr).message(), "");
    const std::vector<double> repaired = Decode(p, bytes);
    CHECK_LE(std::abs(repaired[5] - expected[5]), 0.01 * std::abs(expected[5]));
    if (dtype == DataType::kFloat32) {
      CHECK_LE(std::abs(repaired[6] - expected[6]), 0.01 * std::abs(expected[6]));
    } else {
      CHECK_EQ(repaired[6], kInf);
    }
  }
}

void TestEmpty() {
  Problem p = Window(Make(0, 4, 4, 2, 1, 3, 2, 2), 1, 1, 0, 0, 0, 0);
  p.dtype = DataType::kFloat16;
  const std::vector<Plan> plans = MakePlans(p, kA100, {});
  CHECK_EQ(plans.size(), 1u);
  for (double value : Run(p, plans[0], Tensors())) CHECK_EQ(value, 0.0);
}

// Windows far outside X, where offsets take more than 32 bits.
void TestHugePadding() {
  Problem p = Make(1, 4, 64, 1, 64, 1, 1, 1);
  p.stride_height = p.pad_top = 1 << 20;
  p.out_height = 2;
  p.out_width = 64;
  Tensors tensors = RandomTensors(p);
  EncodeAll(p, &tensors);
  const std::vector<double> expected = Definition(p, tensors);
  for (const Plan& plan : AllPlans(p, kA100)) CHECK_LE(RelativeError(Run(p, plan, tensors), expected), 1.5e-6);
}

// Long float32 sums stay within the tolerance because their chains are short.
void TestLongSums() {
  Problem p = Window(Make(4, 128, 128, 1, 2, 1, 1, 1), 1, 1, 0, 0, 0, 0);
  Tensors tensors = RandomTensors(p);
  for (double& value : tensors.input) value = std::abs(value);
  for (double& value : tensors.out_backprop) value = std::abs(value);
  EncodeAll(p, &tensors);
  const std::vector<double> expected = Definition(p, tensors);
  for (Plan plan : MakePlans(p, {80, 1}, {})) {
    plan.slices = 1;
    CHECK_LE(RelativeError(Run(p, plan, tensors), expected), 1.5e-6);
  }
}

}  // namespace
}  // namespace wgrad::cuda

int main() {
  wgrad::cuda::TestAgainstTheDefinition();
  wgrad::cuda::TestNonFiniteStaysWhereTheDefinitionPutsIt();
  wgrad::cuda::TestLargeFilter();
  wgrad::cuda::TestFoldedWideFilter();
  wgrad::cuda::TestRepair();
  wgrad::cuda::TestEmpty();
  wgrad::cuda::TestHugePadding();
  wgrad::cuda::TestLongSums();
  return Failures();
}
