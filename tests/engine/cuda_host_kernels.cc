// The functions of cuda/kernels.h on the host. The gathering, transposing and reducing kernels run the very code of the
// GPU, thread by thread, with a barrier where one ends its loop. The implicit GEMM, whose code is CUTLASS's, is a naive
// product over the same view of the tensors, with zeros put in for the padding as CUTLASS does.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tf_ops/wgrad/cuda/depthwise.h"
#include "tf_ops/wgrad/cuda/general.h"
#include "tf_ops/wgrad/cuda/kernels.h"
#include "tf_ops/wgrad/cuda/reduce.h"
#include "tf_ops/wgrad/cuda/transpose.h"

namespace wgrad::cuda {
namespace {

template <typename Phase>
void ForEachThread(int threads, Phase phase) {
  for (int thread = 0; thread < threads; ++thread) phase(thread);
}

// Shared memory that a correct kernel never reads before it has written it.
template <typename Shared, typename Number>
void Poison(Number* first) {
  std::fill_n(first, sizeof(Shared) / sizeof(Number), std::numeric_limits<Number>::quiet_NaN());
}

template <typename T>
std::vector<general::Thread<T>> SumTile(const Problem& p, const general::Tile& tile, Range pixels, const T* input,
                                        const T* out_backprop) {
  general::Shared<T> shared;
  Poison<decltype(shared.input)>(&shared.input[0][0]);
  Poison<decltype(shared.out_backprop)>(&shared.out_backprop[0][0]);
  std::vector<general::Thread<T>> states(general::kThreads);
  ForEachThread(general::kThreads, [&](int thread) { general::Start(p, tile, thread, &states[thread]); });
  for (int64_t first = pixels.begin; first < pixels.end; first += general::kDepth) {
    ForEachThread(general::kThreads, [&](int thread) { general::LocatePixels(p, first, thread, &shared); });
    ForEachThread(general::kThreads, [&](int thread) {
      general::Load(p, tile, input, out_backprop, first, pixels.end, thread, states[thread], &shared);
    });
    ForEachThread(general::kThreads, [&](int thread) { general::Multiply(shared, thread, &states[thread]); });
  }
  ForEachThread(general::kThreads, [&](int thread) { general::CloseChain(&states[thread]); });
  return states;
}

int64_t Pixels(const Problem& p) { return p.batch * p.out_height * p.out_width; }

template <typename T>
void General(const Problem& p, const T* input, const T* out_backprop, int64_t slice_count, Accumulator<T>* slices) {
  for (int64_t block = 0; block < general::Tiles(p) * slice_count; ++block) {
    const general::Tile tile = general::TileAt(p, block);
    const auto states = SumTile(p, tile, SliceOf(Pixels(p), slice_count, tile.slice), input, out_backprop);
    Accumulator<T>* slice = slices + tile.slice * FilterRows(p) * p.out_channels;
    ForEachThread(general::kThreads, [&](int thread) {
      general::VisitSums(p, tile, thread, states[thread],
                         [slice](int64_t index, Accumulator<T> sum) { slice[index] = sum; });
    });
  }
}

template <typename T>
void Repair(const Problem& p, const T* input, const T* out_backprop, T* filter_backprop) {
  for (int64_t block = 0; block < general::Tiles(p); ++block) {
    const general::Tile tile = general::TileAt(p, block);
    const auto states = SumTile(p, tile, {0, Pixels(p)}, input, out_backprop);
    ForEachThread(general::kThreads, [&](int thread) {
      general::VisitSums(p, tile, thread, states[thread], [&](int64_t index, Accumulator<T> sum) {
        if (!IsFinite(filter_backprop[index])) filter_backprop[index] = Round<T>(sum);
      });
    });
  }
}

template <typename T>
void Depthwise(const Problem& p, const T* input, const T* out_backprop, int64_t slice_count, Accumulator<T>* slices) {
  depthwise::Shared<T> shared;
  for (int64_t block = 0; block < depthwise::Tiles(p) * slice_count; ++block) {
    Poison<decltype(shared.sums)>(&shared.sums[0][0][0]);
    const depthwise::Tile tile = depthwise::TileAt(p, block);
    const Range pixels = SliceOf(Pixels(p), slice_count, tile.slice);
    ForEachThread(depthwise::kThreads,
                  [&](int thread) { depthwise::Accumulate(p, tile, pixels, input, out_backprop, thread, &shared); });
    ForEachThread(depthwise::kThreads, [&](int thread) { depthwise::Combine(p, tile, shared, thread, slices); });
  }
}

template <typename T>
void Transpose(const T* source, int64_t images, int64_t rows, int64_t columns, T* target) {
  transpose::Shared<T> shared;
  for (int64_t block = 0; block < transpose::Tiles(images, rows, columns); ++block) {
    const transpose::Tile tile = transpose::TileAt(rows, columns, block);
    ForEachThread(transpose::kThreads,
                  [&](int thread) { transpose::Load(rows, columns, tile, source, thread, &shared); });
    ForEachThread(transpose::kThreads,
                  [&](int thread) { transpose::Store(rows, columns, tile, shared, thread, target); });
  }
}

template <typename A>
reduce::Slices<A> Typed(const SliceView& view) {
  return {static_cast<const A*>(view.data),
          static_cast<const A*>(view.carry),
          view.count,
          view.groups,
          view.rows,
          view.columns};
}

template <typename T>
void Sum(const SliceView& view, T* target) {
  const auto slices = Typed<Accumulator<T>>(view);
  for (int64_t i = 0; i < view.groups * view.rows * view.columns; ++i) reduce::Sum(slices, i, target);
}

template <typename T>
void TransposedSum(const SliceView& view, T* target) {
  const auto slices = Typed<Accumulator<T>>(view);
  transpose::Shared<Accumulator<T>> shared;
  for (int64_t block = 0; block < transpose::Tiles(view.groups, view.rows, view.columns); ++block) {
    const transpose::Tile tile = transpose::TileAt(view.rows, view.columns, block);
    ForEachThread(reduce::kThreads, [&](int thread) { reduce::Load(slices, tile, thread, &shared); });
    ForEachThread(reduce::kThreads, [&](int thread) { reduce::Store(slices, tile, shared, thread, target); });
  }
}

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

}  // namespace

template <InstanceId id>
Status LaunchImplicitGemm(const GemmView& view, Stream) {
  VisitElement(Get(id).dtype, [&](auto element) { Gemm<decltype(element)>(view, Get(id).tile_k); });
  return Status();
}

#define WGRAD_INSTANTIATE(name, ...) template Status LaunchImplicitGemm<InstanceId::k##name>(const GemmView&, Stream);
WGRAD_CUDA_INSTANCES(WGRAD_INSTANTIATE)
#undef WGRAD_INSTANTIATE

Status LaunchDepthwise(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                       void* slices, Stream) {
  VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    Depthwise(problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop), slice_count,
              static_cast<Accumulator<T>*>(slices));
  });
  return Status();
}

Status LaunchGeneral(const Problem& problem, const void* input, const void* out_backprop, int64_t slice_count,
                     void* slices, Stream) {
  VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    General(problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop), slice_count,
            static_cast<Accumulator<T>*>(slices));
  });
  return Status();
}

Status LaunchRepair(const Problem& problem, const void* input, const void* out_backprop, void* filter_backprop,
                    Stream) {
  VisitElement(problem.dtype, [&](auto element) {
    using T = decltype(element);
    Repair(problem, static_cast<const T*>(input), static_cast<const T*>(out_backprop),
           static_cast<T*>(filter_backprop));
  });
  return Status();
}

Status LaunchZeros(void* target, int64_t bytes, Stream) {
  std::memset(target, 0, bytes);
  return Status();
}

Status LaunchTranspose(DataType dtype, const void* source, int64_t images, int64_t rows, int64_t columns, void* target,
                       Stream) {
  VisitElement(dtype, [&](auto element) {
    using T = decltype(element);
    Transpose(static_cast<const T*>(source), images, rows, columns, static_cast<T*>(target));
  });
  return Status();
}

Status LaunchCarry(DataType dtype, const SliceView& slices, void* carry, Stream) {
  if (dtype == DataType::kFloat64) {
    Sum(slices, static_cast<double*>(carry));
  } else {
    Sum(slices, static_cast<float*>(carry));
  }
  return Status();
}

Status LaunchFinish(DataType dtype, const SliceView& slices, bool transposed, void* filter_backprop, Stream) {
  VisitElement(dtype, [&](auto element) {
    auto* target = static_cast<decltype(element)*>(filter_backprop);
    transposed ? TransposedSum(slices, target) : Sum(slices, target);
  });
  return Status();
}

}  // namespace wgrad::cuda
