// Block algorithms are written as phases, functions of the thread's number with a barrier between one and the next, so
// that host tests run the code of the kernels itself: for each phase, for each thread.
#ifndef TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
#define TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_

#ifdef __CUDACC__
#define WGRAD_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define WGRAD_HOST_DEVICE inline
#endif

#endif  // TF_OPS_WGRAD_CUDA_HOST_DEVICE_H_
