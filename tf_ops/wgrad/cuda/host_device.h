#ifndef TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
#define TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_

#ifdef __CUDACC__
#define WGRAD_HOST_DEVICE __host__ __device__ __forceinline__
#define WGRAD_DEVICE __device__ __forceinline__
#else
#define WGRAD_HOST_DEVICE inline
#define WGRAD_DEVICE inline
#endif

#endif  // TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
