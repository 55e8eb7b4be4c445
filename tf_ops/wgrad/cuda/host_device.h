#ifndef TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
#define TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_

#ifdef __CUDACC__
#define WGRAD_HOST_DEVICE __host__ __device__ __forceinline__
#define WGRAD_DEVICE __device__ __forceinline__
#define WGRAD_PRAGMA(text) _Pragma(#text)
#define WGRAD_UNROLL(count) WGRAD_PRAGMA(unroll count)
#else
#define WGRAD_HOST_DEVICE inline
#define WGRAD_DEVICE inline
#define WGRAD_UNROLL(count)
#endif

#endif  // TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
