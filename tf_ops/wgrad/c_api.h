// What Python reads and sets through ctypes; plain C, exported from the plugin library.
#ifndef TF_OPS_WGRAD_C_API_H_
#define TF_OPS_WGRAD_C_API_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WGRAD_EXPORT __attribute__((visibility("default")))

// One configuration of the op, as a caller of conv2d_backprop_filter_v2 states it.
typedef struct {
  int32_t dtype;    // wgrad::DataType
  int32_t layout;   // wgrad::Layout
  int32_t padding;  // wgrad::Padding
  int32_t num_explicit_paddings;
  int64_t input_shape[4];
  int64_t filter_shape[4];
  int64_t strides[4];
  int64_t dilations[4];
  int64_t explicit_paddings[8];
} WgradRequest;

// Each of these returns a JSON object as a string that stays valid until the same thread's next call of the same
// function. wgrad_plan derives out_backprop's shape from the request; one that is invalid gives {"error": "..."}. Its
// algorithm may be null: the one that wgrad_get_algorithm names.
WGRAD_EXPORT const char* wgrad_plan(const WgradRequest* request, const char* algorithm);
WGRAD_EXPORT const char* wgrad_describe_cpu(void);
// How often each algorithm has run in this process, on a GPU each kind of kernel: {"direct": 12, "winograd": 3, ...}.
WGRAD_EXPORT const char* wgrad_run_counts(void);
WGRAD_EXPORT void wgrad_reset_run_counts(void);

// The algorithm for every later call, process-wide. Returns 1, or 0 when the name is unknown. Starts from
// TF_CONV_BACKPROP_ALGORITHM, or "auto".
WGRAD_EXPORT int wgrad_set_algorithm(const char* name);
WGRAD_EXPORT const char* wgrad_get_algorithm(void);

#ifdef __cplusplus
}
#endif

#endif  // TF_OPS_WGRAD_C_API_H_
