// Which of the candidates runs, with a cuDNN that is the definition (fake_cudnn.cc): what is measured, what cuDNN is
// asked, and what happens where a candidate fails.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/engine/check.h"
#include "tests/engine/cuda_host_device.h"
#include "tests/engine/cuda_problems.h"
#include "tf_ops/wgrad/cuda/cudnn_abi.h"
#include "tf_ops/wgrad/cuda/dispatch.h"

namespace wgrad::cuda {
namespace {

std::string cudnn_folder;

// The fake library among empty files of the names that the plugin wants to see beside it.
void InstallCudnn(const std::string& library) {
  const char* root = std::getenv("TEST_TMPDIR");
  cudnn_folder = std::string(root == nullptr ? "/tmp" : root) + "/fake_cudnn";
  CHECK_EQ(std::system(("rm -rf " + cudnn_folder + " && mkdir -p " + cudnn_folder).c_str()), 0);
  CHECK_EQ(std::system(("cp " + library + " " + cudnn_folder + "/libcudnn.so.9").c_str()), 0);
  for (const char* part : {"graph", "ops", "cnn", "engines_precompiled", "engines_runtime_compiled", "heuristic"}) {
    std::ofstream(cudnn_folder + "/libcudnn_" + part + ".so.9") << "x";
  }
}

void* FakeCudnn() { return dlopen((cudnn_folder + "/libcudnn.so.9").c_str(), RTLD_NOW | RTLD_NOLOAD); }

int CudnnCalls() {
  void* library = FakeCudnn();
  return library == nullptr ? 0 : reinterpret_cast<int (*)()>(dlsym(library, "fake_cudnn_calls"))();
}

// What cuDNN's calls return from now on, without doing anything where it is no success.
void CudnnAnswers(cudnn::Result result) {
  reinterpret_cast<void (*)(cudnn::Result)>(dlsym(FakeCudnn(), "fake_cudnn_answer"))(result);
}

Settings DefaultSettings() {
  Settings settings;
  settings.cudnn_folder = cudnn_folder;
  settings.report_no_cudnn = [](const std::string& why_not) { CHECK_EQ(why_not, ""); };
  return settings;
}

struct Call {
  std::string ran;
  Status status;
  std::vector<double> result;
};

// `most_bytes`: what the allocator gives at once.
Call Compute(const Problem& p, const Settings& settings, const Tensors& tensors, int64_t most_bytes = INT64_MAX,
             int64_t bytes_after_waiting = 0) {
  std::vector<std::vector<char>> memory;
  const auto allocate = [&](int64_t bytes, bool may_wait) -> void* {
    if (bytes > (may_wait ? std::max(most_bytes, bytes_after_waiting) : most_bytes)) return nullptr;
    memory.emplace_back(bytes + 256, '\xff');
    const auto address = reinterpret_cast<uintptr_t>(memory.back().data());
    return reinterpret_cast<void*>((address + 255) / 256 * 256);
  };
  std::vector<char> bytes(FilterElements(p) * ElementSize(p.dtype), '\xff');
  Call call;
  call.status = ComputeFilterGradient(p, settings, tensors.input_bytes.data(), tensors.out_backprop_bytes.data(),
                                      bytes.data(), allocate, nullptr, &call.ran);
  call.result = Decode(p, bytes);
  return call;
}

Tensors TensorsOf(const Problem& p) {
  Tensors tensors = RandomTensors(p);
  EncodeAll(p, &tensors);
  return tensors;
}

Problem Small(DataType dtype = DataType::kFloat32) {
  Problem p = Window(Make(2, 6, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  p.dtype = dtype;
  return p;
}

// The first calls go round the candidates, and every one of them is right.
void TestEveryCandidateIsRight() {
  std::map<std::string, int> ran;
  for (Problem p : Shapes()) {
    for (const DataType dtype : {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat32, DataType::kFloat64}) {
      for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
        p.dtype = dtype;
        p.layout = layout;
        const Tensors tensors = TensorsOf(p);
        const std::vector<double> expected = Definition(p, tensors);
        Settings settings = DefaultSettings();
        settings.allow_tf32 = layout == Layout::kNHWC;
        for (int i = 0; i < 12; ++i) {
          const Call call = Compute(p, settings, tensors);
          CHECK_EQ(call.status.message(), "");
          CHECK_LE(RelativeError(call.result, expected), Tolerance(dtype));
          ++ran[call.ran];
        }
      }
    }
  }
  for (const char* name : {"cudnn", "implicit_gemm", "depthwise", "general"}) CHECK_LE(1, ran[name]);
}

// However many tiles the implicit GEMM has, the other kernels have their turns.
void TestManyTilesLeaveTheOthersTheirTurns() {
  host_device.device = {90, 132};
  Problem p = Window(Make(2, 6, 6, 16, 2, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  p.dtype = DataType::kFloat16;
  const Tensors tensors = TensorsOf(p);
  Settings settings = DefaultSettings();
  settings.use_cudnn = false;
  std::map<std::string, int> ran;
  for (int i = 0; i < 3 * 10; ++i) ++ran[Compute(p, settings, tensors).ran];
  host_device.device = {80, 108};
  CHECK_EQ(ran["implicit_gemm"], 3 * 8);
  CHECK_EQ(ran["depthwise"], 3);
  CHECK_EQ(ran["general"], 3);
}

void TestTheChoiceStays() {
  const Problem p = Small();
  const Tensors tensors = TensorsOf(p);
  for (int i = 0; i < 100; ++i) Compute(p, DefaultSettings(), tensors);  // more than all candidates' samples
  const std::string chosen = Compute(p, DefaultSettings(), tensors).ran;
  for (int i = 0; i < 10; ++i) CHECK_EQ(Compute(p, DefaultSettings(), tensors).ran, chosen);
}

void TestNoCudnnCallWhereItIsNotWanted() {
  const Problem p = Small(DataType::kFloat16);
  const Tensors tensors = TensorsOf(p);
  const int before = CudnnCalls();
  Settings off = DefaultSettings();
  off.use_cudnn = false;
  Settings deterministic = DefaultSettings();
  deterministic.deterministic = true;
  for (int i = 0; i < 20; ++i) {
    CHECK_EQ(Compute(p, off, tensors).ran, "implicit_gemm");
    CHECK_EQ(Compute(p, deterministic, tensors).ran, "implicit_gemm");
  }
  CHECK_EQ(CudnnCalls(), before);
}

// cuDNN has one padding for two sides.
void TestUnevenPaddingIsNotForCudnn() {
  const Problem p = Window(Make(2, 6, 6, 16, 1, 24, 3, 3), 1, 1, 0, 1, 2, 0);
  const Tensors tensors = TensorsOf(p);
  const int before = CudnnCalls();
  for (int i = 0; i < 20; ++i) CHECK_EQ(Compute(p, DefaultSettings(), tensors).ran, "implicit_gemm");
  CHECK_EQ(CudnnCalls(), before);
}

// All pixels may be one chain of cuDNN's, which float32 in full and float64 have no room for.
void TestLongSumsAreNotForCudnn() {
  const auto has_turns = [](DataType dtype, bool allow_tf32, int64_t width) {
    Problem p = Window(Make(1, 1, width, 16, 1, 16, 1, 1), 1, 1, 0, 0, 0, 0);
    p.dtype = dtype;
    p.stride_width = 1;
    p.out_width = width;
    Settings settings = DefaultSettings();
    settings.allow_tf32 = allow_tf32;
    const Tensors tensors = TensorsOf(p);
    std::map<std::string, int> ran;
    for (int i = 0; i < 12; ++i) ++ran[Compute(p, settings, tensors).ran];
    return ran["cudnn"] > 0;
  };
  CHECK_TRUE(has_turns(DataType::kFloat32, false, 2048));
  CHECK_TRUE(!has_turns(DataType::kFloat32, false, 2049));
  CHECK_TRUE(has_turns(DataType::kFloat32, true, 2049));
  CHECK_TRUE(has_turns(DataType::kFloat64, true, 8192));
  CHECK_TRUE(!has_turns(DataType::kFloat64, true, 8193));
  CHECK_TRUE(has_turns(DataType::kFloat16, false, 8193));
  // Leave to use tf32 is none to sum longer chains where the device has none.
  host_device.device = {75, 40};
  CHECK_TRUE(has_turns(DataType::kFloat32, true, 2047));
  CHECK_TRUE(!has_turns(DataType::kFloat32, true, 2050));
  host_device.device = {80, 108};
}

void TestAnotherCandidateRunsWhereMemoryIsShort() {
  // NCHW, so that the implicit GEMM copies what cuDNN reads in place.
  Problem p = Window(Make(4, 40, 40, 16, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1);
  p.layout = Layout::kNCHW;
  const Tensors tensors = TensorsOf(p);
  const std::vector<double> expected = Definition(p, tensors);
  for (int i = 0; i < 10; ++i) {
    const Call call = Compute(p, DefaultSettings(), tensors, 200'000);
    CHECK_EQ(call.status.message(), "");
    CHECK_EQ(call.ran, "cudnn");
    CHECK_LE(RelativeError(call.result, expected), Tolerance(p.dtype));
  }
  p.batch = 3;
  const Call none = Compute(p, DefaultSettings(), tensors, 100);
  CHECK_TRUE(none.status.code() == Code::kResourceExhausted);
}

// The general kernel with a single slice, after all candidates.
void TestTheLastResortNeedsLittleMemory() {
  Problem p = Window(Make(4, 41, 40, 16, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1);
  p.layout = Layout::kNCHW;
  const Tensors tensors = TensorsOf(p);
  const int64_t slice_bytes = FilterElements(p) * static_cast<int64_t>(sizeof(float));
  Settings settings = DefaultSettings();
  settings.use_cudnn = false;
  const Call call = Compute(p, settings, tensors, slice_bytes);
  CHECK_EQ(call.status.message(), "");
  CHECK_EQ(call.ran, "general");
  CHECK_LE(RelativeError(call.result, Definition(p, tensors)), Tolerance(p.dtype));
  CHECK_TRUE(Compute(p, settings, tensors, slice_bytes - 1).status.code() == Code::kResourceExhausted);
  // Where bits must not depend on the memory that there is, the lack of it is an error.
  settings.deterministic = true;
  CHECK_TRUE(Compute(p, settings, tensors, slice_bytes).status.code() == Code::kResourceExhausted);
  CHECK_EQ(Compute(p, settings, tensors).ran, "implicit_gemm");
}

// The try that may wait for memory is not for a candidate that cannot be launched.
void TestTheTryThatWaitsIsForOneThatLacksMemory() {
  Problem p = Window(Make(2, 42, 40, 16, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1);
  p.layout = Layout::kNCHW;
  const Tensors tensors = TensorsOf(p);
  Settings settings = DefaultSettings();
  settings.use_cudnn = false;
  host_device.broken = {MakePlans(p, host_device.device, Options())[0].instance};
  CHECK_EQ(Compute(p, settings, tensors).status.message(), "");
  const Call call = Compute(p, settings, tensors, 0, /*bytes_after_waiting=*/INT64_MAX);
  host_device.broken.clear();
  CHECK_EQ(call.status.message(), "");
  CHECK_EQ(call.ran, "implicit_gemm");
}

void TestTheNextPlanRunsWhereTheFirstCannotBeLaunched() {
  const Problem p = Window(Make(2, 14, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  const Tensors tensors = TensorsOf(p);
  Settings deterministic = DefaultSettings();
  deterministic.deterministic = true;
  host_device.broken = {MakePlans(p, host_device.device, Options())[0].instance};
  CHECK_EQ(Compute(p, deterministic, tensors).status.message(), "");
  host_device.captured = true;  // before anything is known of the problem
  CHECK_EQ(Compute(p, DefaultSettings(), tensors).status.message(), "");
  host_device.captured = false;
  host_device.broken.clear();
}

// A capture that something else has ended says nothing about the candidates.
void TestAFailureUnderCaptureIsNotHeldAgainstACandidate() {
  const Problem p = Window(Make(2, 13, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  const Tensors tensors = TensorsOf(p);
  Compute(p, DefaultSettings(), tensors);
  host_device.captured = true;
  for (size_t i = 0; i < std::size(kInstances); ++i) host_device.broken.insert(static_cast<InstanceId>(i));
  CudnnAnswers(3000);
  CHECK_TRUE(Compute(p, DefaultSettings(), tensors).status.code() == Code::kInternal);
  CudnnAnswers(cudnn::kSuccess);
  host_device.broken.clear();
  host_device.captured = false;
  std::map<std::string, int> ran;
  for (int i = 0; i < 40; ++i) ++ran[Compute(p, DefaultSettings(), tensors).ran];
  CHECK_LE(1, ran["cudnn"]);
}

// The last test, because from then on nothing new is measured.
void TestSizesWithoutEndDoNotFillTheMemory() {
  Settings settings = DefaultSettings();
  settings.use_cudnn = false;
  std::map<std::string, int> ran;
  for (int64_t width = 1; width <= 4200; ++width) {
    Problem p = Window(Make(1, 1, width, 1, 2, 1, 1, 1), 1, 1, 0, 0, 0, 0);
    const Tensors tensors = TensorsOf(p);
    ran.clear();
    for (int i = 0; i < 2; ++i) ++ran[Compute(p, settings, tensors).ran];
  }
  CHECK_EQ(ran.size(), 1u);  // both candidates would have had their turns
}

void TestMemoryThatWasShortOnceIsNotHeldAgainstACandidate() {
  Problem p = Window(Make(2, 41, 40, 16, 1, 16, 3, 3), 1, 1, 1, 1, 1, 1);
  p.layout = Layout::kNCHW;
  const Tensors tensors = TensorsOf(p);
  CHECK_TRUE(Compute(p, DefaultSettings(), tensors, 100).status.code() == Code::kResourceExhausted);
  CHECK_EQ(Compute(p, DefaultSettings(), tensors, 200'000).ran, "cudnn");
  std::map<std::string, int> ran;
  for (int i = 0; i < 20; ++i) ++ran[Compute(p, DefaultSettings(), tensors).ran];
  CHECK_LE(1, ran["implicit_gemm"]);
}

void TestMemoryThatCudnnLacksOnceIsNotHeldAgainstIt() {
  Settings settings = DefaultSettings();
  settings.allow_tf32 = false;  // leaves one of cuDNN's suggestions
  const auto turns = [&settings](const Problem& p, const Tensors& tensors, int calls) {
    std::map<std::string, int> ran;
    for (int i = 0; i < calls; ++i) ++ran[Compute(p, settings, tensors).ran];
    return ran["cudnn"];
  };
  // It cannot say what it would run.
  Problem p = Window(Make(2, 9, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  Tensors tensors = TensorsOf(p);
  CudnnAnswers(cudnn::kDeviceAllocationFailed);
  CHECK_EQ(turns(p, tensors, 3), 0);
  CudnnAnswers(cudnn::kSuccess);
  CHECK_LE(1, turns(p, tensors, 20));
  // It is asked ever more seldom: at the calls 1, 2, 4, ..., 64.
  p = Window(Make(2, 12, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  tensors = TensorsOf(p);
  CudnnAnswers(cudnn::kDeviceAllocationFailed);
  const int before = CudnnCalls();
  CHECK_EQ(turns(p, tensors, 100), 0);
  CHECK_EQ(CudnnCalls() - before, 7);
  CudnnAnswers(cudnn::kSuccess);
  // It cannot run what it said it would.
  p = Window(Make(2, 10, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  tensors = TensorsOf(p);
  CHECK_EQ(turns(p, tensors, 1), 0);
  CudnnAnswers(cudnn::kHostAllocationFailed);
  CHECK_EQ(turns(p, tensors, 2), 0);
  CudnnAnswers(cudnn::kSuccess);
  CHECK_LE(1, turns(p, tensors, 20));
}

void TestWhyCudnnHasNoPlanIsSaidOnce() {
  const Problem p = Window(Make(2, 11, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  const Tensors tensors = TensorsOf(p);
  std::string said;
  Settings settings = DefaultSettings();
  settings.report_no_cudnn = [&](const std::string& why_not) { said += why_not; };
  CudnnAnswers(3000);
  for (int i = 0; i < 3; ++i) CHECK_EQ(Compute(p, settings, tensors).ran, "implicit_gemm");
  CudnnAnswers(cudnn::kSuccess);
  CHECK_EQ(said, "cuDNN: cudnnGetConvolutionBackwardFilterAlgorithm_v7: refused by the fake cuDNN");
}

void TestACapturedStreamDoesNotAskCudnn() {
  const Problem p = Window(Make(2, 7, 6, 16, 1, 24, 3, 3), 1, 1, 1, 1, 1, 1);
  const Tensors tensors = TensorsOf(p);
  const int before = CudnnCalls();
  host_device.captured = true;
  CHECK_EQ(Compute(p, DefaultSettings(), tensors).ran, "implicit_gemm");
  CHECK_EQ(CudnnCalls(), before);
  host_device.captured = false;
  std::map<std::string, int> ran;
  for (int i = 0; i < 20; ++i) ++ran[Compute(p, DefaultSettings(), tensors).ran];
  CHECK_LE(1, ran["cudnn"]);
}

void TestACapturedStreamIsNotTimed() {
  const Problem p = Small(DataType::kBFloat16);
  const Tensors tensors = TensorsOf(p);
  host_device.captured = true;
  const std::string first = Compute(p, DefaultSettings(), tensors).ran;
  for (int i = 0; i < 10; ++i) CHECK_EQ(Compute(p, DefaultSettings(), tensors).ran, first);
  host_device.captured = false;
}

void TestOneMethodAlone() {
  Problem p = Small();
  Settings settings = DefaultSettings();
  settings.only = Method::kGeneral;
  CHECK_EQ(Compute(p, settings, TensorsOf(p)).ran, "general");
  settings.only = Method::kDepthwise;
  const Call refused = Compute(p, settings, TensorsOf(p));
  CHECK_TRUE(refused.status.code() == Code::kInvalidArgument);
  CHECK_EQ(refused.status.message(), "algorithm depthwise was asked for, but there is one group");
  p = Window(Make(3, 8, 7, 1, 35, 1, 3, 3), 1, 1, 1, 1, 1, 1);
  CHECK_EQ(Compute(p, settings, TensorsOf(p)).ran, "depthwise");
}

void TestSeveralThreadsAndDevices() {
  const Problem p = Small(DataType::kFloat64);
  const Tensors tensors = TensorsOf(p);
  const std::vector<double> expected = Definition(p, tensors);
  for (const int ordinal : {0, 1}) {
    host_device.ordinal = ordinal;
    std::vector<std::thread> threads;
    std::vector<double> worst(4, 0);
    for (double& each : worst) {
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) {
          const Call call = Compute(p, DefaultSettings(), tensors);
          each = std::max(each, RelativeError(call.result, expected));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const double each : worst) CHECK_LE(each, Tolerance(p.dtype));
  }
  host_device.ordinal = 0;
}

}  // namespace
}  // namespace wgrad::cuda

int main(int argc, char** argv) {
  using namespace wgrad::cuda;
  CHECK_EQ(argc, 2);
  InstallCudnn(argv[1]);
  TestEveryCandidateIsRight();
  TestManyTilesLeaveTheOthersTheirTurns();
  TestTheChoiceStays();
  TestNoCudnnCallWhereItIsNotWanted();
  TestUnevenPaddingIsNotForCudnn();
  TestLongSumsAreNotForCudnn();
  TestAnotherCandidateRunsWhereMemoryIsShort();
  TestTheLastResortNeedsLittleMemory();
  TestTheTryThatWaitsIsForOneThatLacksMemory();
  TestTheNextPlanRunsWhereTheFirstCannotBeLaunched();
  TestMemoryThatWasShortOnceIsNotHeldAgainstACandidate();
  TestMemoryThatCudnnLacksOnceIsNotHeldAgainstIt();
  TestWhyCudnnHasNoPlanIsSaidOnce();
  TestACapturedStreamDoesNotAskCudnn();
  TestACapturedStreamIsNotTimed();
  TestAFailureUnderCaptureIsNotHeldAgainstACandidate();
  TestOneMethodAlone();
  TestSeveralThreadsAndDevices();
  TestSizesWithoutEndDoNotFillTheMemory();
  return Failures();
}
