// How the tensor memory accelerator finds its panels in X and dY.
#ifndef TF_OPS_WGRAD_CUDA_TENSOR_MAP_H_
#define TF_OPS_WGRAD_CUDA_TENSOR_MAP_H_

#include <cuda.h>
#include <dlfcn.h>

#include "tf_ops/wgrad/cuda/wgmma_tile.h"

namespace wgrad::cuda::wgmma {

struct Driver {
  decltype(&cuTensorMapEncodeTiled) encode_tiled = nullptr;
  decltype(&cuTensorMapEncodeIm2col) encode_im2col = nullptr;
};

// Asked for by name, so that the library loads where there is no driver.
inline const Driver& GetDriver() {
  static const Driver driver = [] {
    Driver found;
    void* library = dlopen("libcuda.so.1", RTLD_LAZY);
    if (library == nullptr) return found;
    found.encode_tiled = reinterpret_cast<decltype(found.encode_tiled)>(dlsym(library, "cuTensorMapEncodeTiled"));
    found.encode_im2col = reinterpret_cast<decltype(found.encode_im2col)>(dlsym(library, "cuTensorMapEncodeIm2col"));
    return found;
  }();
  return driver;
}

// Of TFLOAT32 the accelerator rounds float32 to tf32 on the way.
inline CUtensorMapDataType TypeOf(DataType dtype) {
  switch (dtype) {
    case DataType::kFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DataType::kBFloat16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    default:
      return CU_TENSOR_MAP_DATA_TYPE_TFLOAT32;
  }
}

// What the first window's corner is to a dimension's first element, and the last window's to its last.
struct Corners {
  int lower, upper;
};

inline Corners CornersOf(int64_t in, int64_t out, int64_t stride, int64_t pad) {
  return {static_cast<int>(-pad), static_cast<int>((out - 1) * stride - pad - (in - 1))};
}

// Both map panels of `pixels`.
inline bool MapInput(const Problem& p, const void* input, int pixels, CUtensorMap* map) {
  const auto unsign = [](int64_t value) { return static_cast<cuuint64_t>(value); };
  const cuuint64_t sizes[] = {unsign(p.in_channels), unsign(p.in_width), unsign(p.in_height), unsign(p.batch)};
  const cuuint64_t pixel = unsign(ElementSize(p.dtype)) * sizes[0];
  const cuuint64_t strides[] = {pixel, pixel * sizes[1], pixel * sizes[1] * sizes[2]};
  const Corners w = CornersOf(p.in_width, p.out_width, p.stride_width, p.pad_left);
  const Corners h = CornersOf(p.in_height, p.out_height, p.stride_height, p.pad_top);
  const int lower[] = {w.lower, h.lower};
  const int upper[] = {w.upper, h.upper};
  const cuuint32_t steps[] = {1, static_cast<cuuint32_t>(p.stride_width), static_cast<cuuint32_t>(p.stride_height), 1};
  return GetDriver().encode_im2col(map, TypeOf(p.dtype), 4, const_cast<void*>(input), sizes, strides, lower, upper,
                                   static_cast<cuuint32_t>(PanelOf(p.dtype)), pixels, steps,
                                   CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

inline bool MapOutBackprop(const Problem& p, const void* out_backprop, int pixels, CUtensorMap* map) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(p.out_channels), static_cast<cuuint64_t>(Pixels(p))};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(ElementSize(p.dtype)) * sizes[0]};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(PanelOf(p.dtype)), static_cast<cuuint32_t>(pixels)};
  const cuuint32_t steps[] = {1, 1};
  return GetDriver().encode_tiled(map, TypeOf(p.dtype), 2, const_cast<void*>(out_backprop), sizes, strides, box, steps,
                                  CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace wgrad::cuda::wgmma

#endif  // TF_OPS_WGRAD_CUDA_TENSOR_MAP_H_
