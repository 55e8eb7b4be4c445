// CUTLASS's iterators, run on the host: every address that a kernel would load from, for every thread and every step,
// is the one the definition asks for, or predicated off. Strides, dilations, uneven paddings, split-K slices and groups
// seen through strided views all pass through GemmView, as in the engine.
#include <cstdint>
#include <iostream>
#include <vector>

#include "tests/engine/check.h"
#include "tf_ops/wgrad/cuda/implicit_gemm.h"

namespace wgrad::cuda {
namespace {

// The two-stage pipelines wrap the iterator that makes the addresses.
template <typename Iterator, typename = void>
struct Addresses {
  using type = Iterator;
};
template <typename Iterator>
struct Addresses<Iterator, std::void_t<typename Iterator::TileAccessIterator>> {
  using type = typename Iterator::TileAccessIterator;
};

struct Counts {
  int64_t valid = 0, wrong = 0;
};

// Calls check(column, row, valid, address) for each element of each access of a thread, in the tile's coordinates.
template <typename Iterator, typename Check>
void VisitAccesses(Iterator* iterator, int thread, Check check) {
  using Map = typename Iterator::ThreadMap;
  const auto start = Map::initial_offset(thread);
  iterator->set_iteration_index(0);
  for (int s = 0; s < Map::Iterations::kStrided; ++s) {
    for (int c = 0; c < Map::Iterations::kContiguous; ++c) {
      for (int v = 0; v < Iterator::kAccessesPerVector; ++v) {
        const bool valid = iterator->valid();
        const auto* address = reinterpret_cast<const char*>(iterator->get());
        for (int e = 0; e < Iterator::AccessType::kElements; ++e) {
          check(start.contiguous() + c * Map::Delta::kContiguous + v * Iterator::AccessType::kElements + e,
                start.strided() + s * Map::Delta::kStrided, valid, address + e * sizeof(typename Iterator::Element));
        }
        ++*iterator;
      }
    }
  }
}

int64_t Ceil(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename Gemm>
Counts Walk(const GemmView& v, int64_t group_channel, int64_t group_out_channel) {
  using Kernel = typename Gemm::Kernel;
  using A = typename Addresses<typename Kernel::Mma::IteratorA>::type;
  using B = typename Addresses<typename Kernel::Mma::IteratorB>::type;
  constexpr int kElement = sizeof(typename A::Element);
  constexpr Instance kTile = Gemm::kInstance;
  const typename Kernel::Params params(Gemm::Arguments(v));
  const auto* x = static_cast<const char*>(v.input) - group_channel * kElement;
  const auto* dy = static_cast<const char*>(v.out_backprop) - group_out_channel * kElement;
  const int64_t pixels = int64_t{v.batch} * v.out_height * v.out_width;
  const int64_t rows = int64_t{v.filter_height} * v.filter_width * v.channels;
  const int64_t x_bytes = int64_t{v.batch} * v.in_height * v.in_width * v.input_pixel_stride * kElement;
  Counts counts;
  const auto expect = [&counts](bool expected_valid, bool valid, const char* expected, const char* address) {
    counts.valid += valid;
    counts.wrong += valid != expected_valid || (valid && address != expected);
  };
  for (int slice = 0; slice < v.slice_count; ++slice) {
    for (int thread = 0; thread < Kernel::kThreadCount; ++thread) {
      for (int m = 0; m < Ceil(v.out_channels, kTile.tile_m); ++m) {
        A a(params.iterator_A, params.problem_size, params.ptr_A, thread, {m * kTile.tile_m, slice * kTile.tile_k});
        for (int step = 0; step < params.gemm_k_iterations; ++step, a.advance()) {
          const int64_t first = (int64_t{step} * v.slice_count + slice) * kTile.tile_k;
          VisitAccesses(&a, thread, [&](int column, int row, bool valid, const char* address) {
            const int64_t channel = m * kTile.tile_m + column;
            const int64_t pixel = first + row;
            const char* expected = dy + (pixel * v.output_pixel_stride + group_out_channel + channel) * kElement;
            expect(pixel < pixels && channel < v.out_channels, valid, expected, address);
          });
        }
      }
      for (int n = 0; n < Ceil(rows, kTile.tile_n); ++n) {
        B b(params.iterator_B, params.problem_size, params.ptr_B, thread, {slice * kTile.tile_k, n * kTile.tile_n});
        for (int step = 0; step < params.gemm_k_iterations; ++step, b.advance()) {
          const int64_t first = (int64_t{step} * v.slice_count + slice) * kTile.tile_k;
          VisitAccesses(&b, thread, [&](int column, int row, bool valid, const char* address) {
            const int64_t filter_row = n * kTile.tile_n + column;
            // Such a column is computed and thrown away, so its loads need only stay inside the tensor.
            if (filter_row >= rows) {
              counts.wrong += valid && (address < x || address + kElement > x + x_bytes);
              return;
            }
            const int64_t pixel = first + row;
            const int64_t image = pixel / (v.out_height * v.out_width);
            const int64_t oh = pixel / v.out_width % v.out_height;
            const int64_t ow = pixel % v.out_width;
            const int64_t kh = filter_row / v.channels / v.filter_width;
            const int64_t kw = filter_row / v.channels % v.filter_width;
            const int64_t h = oh * v.stride_height + kh * v.dilation_height - v.pad_top;
            const int64_t w = ow * v.stride_width + kw * v.dilation_width - v.pad_left;
            const bool inside = pixel < pixels && h >= 0 && h < v.in_height && w >= 0 && w < v.in_width;
            const int64_t position = (image * v.in_height + h) * v.in_width + w;
            const char* expected =
                x + (position * v.input_pixel_stride + group_channel + filter_row % v.channels) * kElement;
            expect(inside, valid, expected, address);
          });
        }
      }
    }
  }
  return counts;
}

struct Window {
  int in, filter, stride, dilation, pad_before, pad_after;
};

constexpr Window kWindows[] = {
    {7, 3, 1, 1, 1, 1},  {8, 3, 2, 1, 0, 1},  {9, 2, 3, 1, 2, 0},
    {11, 3, 1, 3, 1, 4}, {10, 3, 2, 2, 3, 2}, {5, 1, 1, 1, 0, 0},
};

template <InstanceId id, typename Warp, int stages>
void Test(int channels) {
  using Gemm = ImplicitGemm<id, Warp, stages>;
  // A page of bytes stands for each tensor: only addresses within it are made, and none is read.
  alignas(64) static char input[1 << 20], out_backprop[1 << 20];
  for (const Window& height : kWindows) {
    for (const Window& width : {kWindows[1], kWindows[3], kWindows[4], kWindows[5]}) {
      for (int groups = 1; groups <= 2; ++groups) {
        const int64_t element = ElementSize(Gemm::kInstance.dtype);
        const int out_channels = 2 * channels;
        const int group = groups - 1;
        GemmView v;
        v.input = input + group * channels * element;
        v.out_backprop = out_backprop + group * out_channels * element;
        v.slices = nullptr;
        v.batch = 2;
        v.channels = channels;
        v.input_pixel_stride = groups * channels;
        v.out_channels = out_channels;
        v.output_pixel_stride = groups * out_channels;
        const auto out = [](const Window& w) {
          return (w.in + w.pad_before + w.pad_after - (w.filter - 1) * w.dilation - 1) / w.stride + 1;
        };
        v.in_height = height.in;
        v.in_width = width.in;
        v.out_height = out(height);
        v.out_width = out(width);
        v.filter_height = height.filter;
        v.filter_width = width.filter;
        v.pad_top = height.pad_before;
        v.pad_left = width.pad_before;
        v.stride_height = height.stride;
        v.stride_width = width.stride;
        v.dilation_height = height.dilation;
        v.dilation_width = width.dilation;
        for (const int slices : {1, 3}) {
          v.slice_count = slices;
          const Counts counts = Walk<Gemm>(v, group * channels, group * out_channels);
          CHECK_EQ(counts.wrong, 0);
          CHECK_LE(1, counts.valid);
        }
      }
    }
  }
}

}  // namespace
}  // namespace wgrad::cuda

int main() {
  using namespace wgrad::cuda;
  using cutlass::gemm::GemmShape;
  // One for each kind of iterator: by width of access, and by pipeline.
  Test<InstanceId::kF16Align8Tile128x128, GemmShape<64, 64, 32>, 4>(8);
  Test<InstanceId::kF16Align4Tile64x64, GemmShape<32, 32, 32>, 4>(4);
  Test<InstanceId::kF16Align2Tile64x64, GemmShape<32, 32, 32>, 4>(6);
  Test<InstanceId::kF16Align1Tile64x64, GemmShape<32, 32, 32>, 2>(3);
  Test<InstanceId::kTf32Align4Tile64x64, GemmShape<32, 32, 32>, 4>(4);
  Test<InstanceId::kTf32Align2Tile64x64, GemmShape<32, 32, 32>, 4>(6);
  Test<InstanceId::kTf32Align1Tile64x64, GemmShape<32, 32, 32>, 4>(5);
  Test<InstanceId::kF32SimtTile64x64, GemmShape<32, 32, 8>, 2>(3);
  Test<InstanceId::kF64DmmaTile64x64, GemmShape<32, 32, 16>, 4>(3);
  return Failures();
}
