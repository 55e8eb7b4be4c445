#include "tf_ops/wgrad/cuda/cudnn.h"

#include <algorithm>
#include <limits>
#include <map>
#include <mutex>

#include "tf_ops/wgrad/cuda/index.h"
#include "tf_ops/wgrad/cuda/kernels.h"

namespace wgrad::cuda::cudnn {
namespace {

// What an algorithm may take; one that wants more is not worth the memory it keeps from the model.
constexpr size_t kMaxAlgorithmBytes = size_t{1} << 30;

Status Check(const Functions& cudnn, Result result, const char* what) {
  if (result == kSuccess) return Status();
  const bool memory = result == kHostAllocationFailed || result == kDeviceAllocationFailed;
  return Status(memory ? Code::kResourceExhausted : Code::kInternal,
                std::string("cuDNN: ") + what + ": " + cudnn.GetErrorString(result));
}

// Of 7 algorithms, one entry for each kind of arithmetic that it has.
constexpr int kMaxSuggestions = 32;

// Handles live as long as the process. A handle serves one thread at a time, so the lock is held while it is in use.
struct DeviceHandle {
  std::mutex mutex;
  Handle handle = nullptr;
};

DeviceHandle& HandleOf(int ordinal) {
  static std::mutex mutex;
  static auto* const handles = new std::map<int, DeviceHandle>();
  const std::lock_guard<std::mutex> lock(mutex);
  return (*handles)[ordinal];
}

int TypeOf(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return kHalf;
    case DataType::kBFloat16:
      return kBFloat16;
    case DataType::kFloat32:
      return kFloat;
    case DataType::kFloat64:
      break;
  }
  return kDouble;
}

int MathOf(DataType dtype, const Options& options) {
  if (dtype == DataType::kFloat16 || dtype == DataType::kBFloat16) return kTensorOpMath;
  return dtype == DataType::kFloat32 && !options.allow_tf32 ? kFmaMath : kDefaultMath;
}

class Descriptors {
 public:
  explicit Descriptors(const Functions& cudnn) : cudnn_(cudnn) {}
  ~Descriptors() {
    if (x_ != nullptr) cudnn_.DestroyTensorDescriptor(x_);
    if (dy_ != nullptr) cudnn_.DestroyTensorDescriptor(dy_);
    if (dw_ != nullptr) cudnn_.DestroyFilterDescriptor(dw_);
    if (convolution_ != nullptr) cudnn_.DestroyConvolutionDescriptor(convolution_);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  Status Fill(const Problem& p, int math) {
    const auto narrow = [](int64_t value) { return static_cast<int>(value); };
    const int type = TypeOf(p.dtype);
    const int format = p.layout == Layout::kNHWC ? kFormatNhwc : kFormatNchw;
    const Strides x = InputStrides(p);
    const Strides dy = OutputStrides(p);
    Result result = cudnn_.CreateTensorDescriptor(&x_);
    const auto then = [&result](auto call) {
      if (result == kSuccess) result = call();
    };
    then([&] { return cudnn_.CreateTensorDescriptor(&dy_); });
    then([&] { return cudnn_.CreateFilterDescriptor(&dw_); });
    then([&] { return cudnn_.CreateConvolutionDescriptor(&convolution_); });
    then([&] {
      return cudnn_.SetTensor4dDescriptorEx(x_, type, narrow(p.batch), narrow(p.in_channels), narrow(p.in_height),
                                            narrow(p.in_width), narrow(x.n), narrow(x.c), narrow(x.h), narrow(x.w));
    });
    then([&] {
      return cudnn_.SetTensor4dDescriptorEx(dy_, type, narrow(p.batch), narrow(p.out_channels), narrow(p.out_height),
                                            narrow(p.out_width), narrow(dy.n), narrow(dy.c), narrow(dy.h),
                                            narrow(dy.w));
    });
    then([&] {
      return cudnn_.SetFilter4dDescriptor(dw_, type, format, narrow(p.out_channels), narrow(p.filter_channels),
                                          narrow(p.filter_height), narrow(p.filter_width));
    });
    then([&] {
      return cudnn_.SetConvolution2dDescriptor(convolution_, narrow(p.pad_top), narrow(p.pad_left),
                                               narrow(p.stride_height), narrow(p.stride_width),
                                               narrow(p.dilation_height), narrow(p.dilation_width), kCrossCorrelation,
                                               p.dtype == DataType::kFloat64 ? kDouble : kFloat);
    });
    then([&] { return cudnn_.SetConvolutionGroupCount(convolution_, narrow(p.groups)); });
    then([&] { return cudnn_.SetConvolutionMathType(convolution_, math); });
    return Check(cudnn_, result, "descriptors");
  }

  TensorDescriptor x() const { return x_; }
  TensorDescriptor dy() const { return dy_; }
  FilterDescriptor dw() const { return dw_; }
  ConvolutionDescriptor convolution() const { return convolution_; }

 private:
  const Functions& cudnn_;
  TensorDescriptor x_ = nullptr, dy_ = nullptr;
  FilterDescriptor dw_ = nullptr;
  ConvolutionDescriptor convolution_ = nullptr;
};

Status CreateOnce(const Functions& cudnn, DeviceHandle* device) {
  if (device->handle != nullptr) return Status();
  return Check(cudnn, cudnn.Create(&device->handle), "cudnnCreate");
}

bool Symmetric(int64_t in, int64_t filter, int64_t out, int64_t stride, int64_t dilation, int64_t pad) {
  const int64_t room = in + 2 * pad - (filter - 1) * dilation - 1;
  return room >= 0 && room / stride + 1 == out;
}

// Whether the gradient is a plain product, of which cuDNN writes the transpose, HWIO, if X and dY change places.
bool IsProduct(const Problem& p) {
  return p.filter_height == 1 && p.filter_width == 1 && p.groups == 1 && p.stride_height == 1 && p.stride_width == 1 &&
         p.pad_top == 0 && p.pad_left == 0 && p.in_height == p.out_height && p.in_width == p.out_width;
}

Problem WithOperandsExchanged(const Problem& p) {
  Problem exchanged = p;
  exchanged.in_channels = exchanged.filter_channels = p.out_channels;
  exchanged.out_channels = p.in_channels;
  return exchanged;
}

// What cuDNN is asked to compute.
Problem Asked(const Problem& p) { return IsProduct(p) ? WithOperandsExchanged(p) : p; }

// Copies of dW in other layouts than HWIO: KRSC, and KCRS before it where the tensors are NCHW.
int64_t Copies(const Problem& p) { return IsProduct(p) ? 0 : p.layout == Layout::kNHWC ? 1 : 2; }

bool NeedsRepair(const Problem& p, const CudnnPlan& plan) {
  return ReadsPadding(p) || (p.dtype == DataType::kFloat32 && plan.math != kFmaMath);  // which may be tf32's
}

// Bytes of dW, rounded up to keep what follows aligned.
int64_t FilterBytes(const Problem& p) { return RoundUp(FilterElements(p) * ElementSize(p.dtype), 256); }

// From what cuDNN wrote to HWIO.
Status FromKrsc(const Problem& p, char* filter, void* filter_backprop, const Original* original, Stream stream) {
  if (p.layout == Layout::kNCHW) {
    char* krsc = filter + FilterBytes(p);
    const Status status = LaunchTranspose(p.dtype, filter, p.out_channels, p.filter_channels,
                                          p.filter_height * p.filter_width, krsc, stream);
    if (!status.ok()) return status;
    filter = krsc;
  }
  return LaunchTransposedFilter(p.dtype, filter, p.out_channels, FilterRows(p), filter_backprop, original, stream);
}

}  // namespace

std::string WhyNot(const Problem& p, const Options& options) {
  constexpr int64_t kLimit = std::numeric_limits<int32_t>::max();
  if (std::max({InputElements(p), OutputElements(p), FilterElements(p), p.stride_height, p.stride_width,
                p.dilation_height, p.dilation_width, p.pad_top, p.pad_left}) > kLimit) {
    return "a size exceeds " + std::to_string(kLimit);
  }
  if (!Symmetric(p.in_height, p.filter_height, p.out_height, p.stride_height, p.dilation_height, p.pad_top) ||
      !Symmetric(p.in_width, p.filter_width, p.out_width, p.stride_width, p.dilation_width, p.pad_left)) {
    return "the padding differs between two sides";
  }
  // How long its chains of sums are it does not say, so all pixels may be one. Half, bfloat16 and tf32 have bounds that
  // are hundreds of times as wide: by plan.cc's estimate a single chain meets half's up to 131,072 pixels. That it cuts
  // longer ones is assumed; 200,704 pixels of normal data met the bound on an H100.
  const bool in_full = p.dtype == DataType::kFloat64 || (p.dtype == DataType::kFloat32 && !options.allow_tf32);
  const int64_t longest = MaxChainPixels(Math::kSimt, p.dtype);
  if (in_full && Pixels(p) > longest) {
    return "a chain of " + std::to_string(Pixels(p)) + " pixels is longer than the " + std::to_string(longest) +
           " that accuracy allows";
  }
  return "";
}

Status Plans(const Functions& cudnn, const Problem& problem, const Options& options, int ordinal,
             std::vector<CudnnPlan>* plans) {
  DeviceHandle& device = HandleOf(ordinal);
  const std::lock_guard<std::mutex> lock(device.mutex);
  Descriptors descriptors(cudnn);
  const int math = MathOf(problem.dtype, options);
  Status status = CreateOnce(cudnn, &device);
  if (status.ok()) status = descriptors.Fill(Asked(problem), math);
  if (!status.ok()) return status;
  AlgorithmPerformance suggestions[kMaxSuggestions];
  int count = 0;
  status = Check(cudnn,
                 cudnn.GetConvolutionBackwardFilterAlgorithm_v7(device.handle, descriptors.x(), descriptors.dy(),
                                                                descriptors.convolution(), descriptors.dw(),
                                                                kMaxSuggestions, &count, suggestions),
                 "cudnnGetConvolutionBackwardFilterAlgorithm_v7");
  if (!status.ok()) return status;
  for (int i = 0; i < count; ++i) {
    const AlgorithmPerformance& each = suggestions[i];
    const bool exact = each.algorithm == kAlgorithm1 && each.determinism == kDeterministic;
    // Where tf32 is off, a suggestion with another kind of arithmetic would bring it back.
    const bool allowed = options.allow_tf32 || problem.dtype != DataType::kFloat32 || each.math == kFmaMath;
    if (each.status == kSuccess && exact && allowed && each.memory <= kMaxAlgorithmBytes) {
      plans->push_back({each.algorithm, each.math, static_cast<int64_t>(each.memory)});
    }
  }
  return Status();
}

int64_t WorkspaceBytes(const Problem& problem, const CudnnPlan& plan) {
  return Copies(problem) * FilterBytes(problem) + plan.algorithm_bytes;
}

Status Launch(const Functions& cudnn, const Problem& p, const CudnnPlan& plan, const void* input,
              const void* out_backprop, void* filter_backprop, void* workspace, Stream stream, int ordinal) {
  const bool copied = Copies(p) > 0;
  char* filter = static_cast<char*>(copied ? workspace : filter_backprop);
  char* algorithm_workspace = static_cast<char*>(workspace) + WorkspaceBytes(p, plan) - plan.algorithm_bytes;
  const void* x = IsProduct(p) ? out_backprop : input;
  const void* dy = IsProduct(p) ? input : out_backprop;
  {
    DeviceHandle& device = HandleOf(ordinal);
    const std::lock_guard<std::mutex> lock(device.mutex);
    Descriptors descriptors(cudnn);
    Status status = CreateOnce(cudnn, &device);
    if (status.ok()) status = descriptors.Fill(Asked(p), plan.math);
    if (status.ok()) status = Check(cudnn, cudnn.SetStream(device.handle, stream), "cudnnSetStream");
    if (!status.ok()) return status;
    // Scaling factors have the type of the sums.
    const float one = 1, zero = 0;
    const double double_one = 1, double_zero = 0;
    const bool is_double = p.dtype == DataType::kFloat64;
    status = Check(
        cudnn,
        cudnn.ConvolutionBackwardFilter(
            device.handle, is_double ? static_cast<const void*>(&double_one) : &one, descriptors.x(), x,
            descriptors.dy(), dy, descriptors.convolution(), plan.algorithm, algorithm_workspace, plan.algorithm_bytes,
            is_double ? static_cast<const void*>(&double_zero) : &zero, descriptors.dw(), filter),
        "cudnnConvolutionBackwardFilter");
    if (!status.ok()) return status;
  }
  const Original asked = {&p, input, out_backprop};
  const Original* original = NeedsRepair(p, plan) ? &asked : nullptr;
  if (copied) return FromKrsc(p, filter, filter_backprop, original, stream);
  return original == nullptr ? Status() : LaunchRepair(*original, filter_backprop, stream);
}

}  // namespace wgrad::cuda::cudnn
