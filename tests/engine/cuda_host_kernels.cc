// What of the CUDA engine the host cannot run, in other words. The implicit GEMM, whose code is CUTLASS's, is a naive
// product over the same view of the tensors, with zeros put in for the padding as CUTLASS does, and so is wgmma's. The
// other kernels need no stand-in: their own files compile for the host.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/engine/cuda_host_device.h"
#include "tf_ops/wgrad/cuda/element.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/wgmma.h"

namespace wgrad::cuda {
namespace {

template <typename T>
void Gemm(const GemmView& v, int tile_k) {
  using A = Accumulator<T>;
  const T* input = static_cast<const T*>(v.input);
  const T* out_backprop = static_cast<const T*>(v.out_backprop);
  A* slices = static_cast<A*>(v.slices);
  const int rows = v.filter_height * v.filter_width * v.channels;
  std::fill_n(slices, int64_t{v.slice_count} * v.out_channels * rows, A(0));
  for (int pixel = 0; pixel < v.batch * v.out_height * v.out_width; ++pixel) {
    const int n = pixel / (v.out_height * v.out_width);
    const int oh = pixel / v.out_width % v.out_height;
    const int ow = pixel % v.out_width;
    A* slice = slices + int64_t{pixel / tile_k % v.slice_count} * v.out_channels * rows;
    for (int k = 0; k < v.out_channels; ++k) {
      const A gradient = Widen(out_backprop[int64_t{pixel} * v.output_pixel_stride + k]);
      for (int row = 0; row < rows; ++row) {
        const int kh = row / v.channels / v.filter_width;
        const int kw = row / v.channels % v.filter_width;
        const int h = oh * v.stride_height + kh * v.dilation_height - v.pad_top;
        const int w = ow * v.stride_width + kw * v.dilation_width - v.pad_left;
        const bool inside = h >= 0 && h < v.in_height && w >= 0 && w < v.in_width;
        const int64_t position = (int64_t{n} * v.in_height + h) * v.in_width + w;
        const A value = inside ? Widen(input[position * v.input_pixel_stride + row % v.channels]) : A(0);
        slice[int64_t{k} * rows + row] += value * gradient;
      }
    }
  }
}

// [slices][filter rows][out channels]
template <typename T>
void MultiplyWithZeros(const Problem& p, const void* input, const void* out_backprop, int64_t slice_count,
                       void* slices) {
  using A = Accumulator<T>;
  const T* x = static_cast<const T*>(input);
  const T* dy = static_cast<const T*>(out_backprop);
  A* sums = static_cast<A*>(slices);
  const int64_t group_channels = p.out_channels / p.groups;
  std::fill_n(sums, slice_count * FilterElements(p), A(0));
  for (int64_t slice = 0; slice < slice_count; ++slice, sums += FilterElements(p)) {
    const Range pixels = SliceOf(Pixels(p), slice_count, slice);
    for (int64_t index = pixels.begin; index < pixels.end; ++index) {
      const Pixel pixel = PixelAt(p, index);
      for (int64_t row = 0; row < FilterRows(p); ++row) {
        const Tap tap = TapAt(p, row);
        const int64_t h = pixel.oh * p.stride_height + tap.h;
        const int64_t w = pixel.ow * p.stride_width + tap.w;
        const int64_t position = (pixel.n * p.in_height + h) * p.in_width + w;
        for (int64_t f = 0; f < p.out_channels; ++f) {
          const int64_t channel = f / group_channels * p.filter_channels + tap.channel;
          const A value = InsideInput(p, h, w) ? Widen(x[position * p.in_channels + channel]) : A(0);
          sums[row * p.out_channels + f] += value * Widen(dy[index * p.out_channels + f]);
        }
      }
    }
  }
}

}  // namespace

template <InstanceId id>
Status LaunchImplicitGemm(const GemmView& view, Stream) {
  if (host_device.broken.count(id) > 0) return Status(Code::kInternal, "broken");
  VisitElement(Get(id).dtype, [&](auto element) { Gemm<decltype(element)>(view, Get(id).tile_k); });
  return Status();
}

#define WGRAD_INSTANTIATE(name, ...) template Status LaunchImplicitGemm<InstanceId::k##name>(const GemmView&, Stream);
WGRAD_CUDA_GEMM_INSTANCES(WGRAD_INSTANTIATE)
#undef WGRAD_INSTANTIATE

namespace wgmma {

Status Launch(InstanceId id, const Problem& p, const void* input, const void* out_backprop, int64_t slice_count,
              const Results& results, Stream stream) {
  std::vector<float> own;
  if (results.filter_backprop != nullptr) own.resize(slice_count * FilterElements(p));
  void* slices = own.empty() ? results.slices : own.data();
  VisitElement(Get(id).dtype, [&](auto element) {
    MultiplyWithZeros<decltype(element)>(p, input, out_backprop, slice_count, slices);
  });
  if (results.filter_backprop == nullptr) return Status();
  const SliceView view = {slices, nullptr, slice_count, 1, FilterRows(p), p.out_channels};
  return LaunchFinish(p.dtype, view, /*transposed=*/false, results.filter_backprop, results.original, stream);
}

}  // namespace wgmma

Status LaunchZeros(void* target, int64_t bytes, Stream) {
  std::memset(target, 0, bytes);
  return Status();
}

}  // namespace wgrad::cuda
