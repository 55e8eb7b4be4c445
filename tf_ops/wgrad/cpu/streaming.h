// Streaming stores go past the caches, and past the order in which other cores see what is written. What they gain,
// next to the constants that decide on them, was measured on Zen 4.
#ifndef TF_OPS_WGRAD_CPU_STREAMING_H_
#define TF_OPS_WGRAD_CPU_STREAMING_H_

#include "tf_ops/wgrad/cpu/kernels.h"

namespace wgrad {

// Whether a vector is a line, which else has to wait for its other vectors.
inline bool StreamsLines(const Isa& isa) { return isa.vector_bytes == kCacheLine; }

// Whoever sees what this thread writes next sees what it has streamed.
inline void FenceStreams() {
#ifdef __x86_64__
  __builtin_ia32_sfence();
#endif
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_STREAMING_H_
