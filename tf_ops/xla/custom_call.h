// The custom call by which programs that XLA compiled for the CPU reach the engine.
//
//   operands    input, out_backprop: rank 4, dense, row-major
//   result      filter_backprop: likewise
//   attributes  as wgrad::ConvAttributes:
//               strides, dilations (array<i64>); explicit_paddings (array<i64>); padding, layout (i32)
#ifndef TF_OPS_XLA_CUSTOM_CALL_H_
#define TF_OPS_XLA_CUSTOM_CALL_H_

#include "xla/ffi/api/c_api.h"

// The handler, in the plugin's library beside the engine and what it counts. Registered by the XLA library.
extern "C" __attribute__((visibility("default"))) XLA_FFI_Error* wgrad_xla_call(XLA_FFI_CallFrame* frame);

#endif  // TF_OPS_XLA_CUSTOM_CALL_H_
