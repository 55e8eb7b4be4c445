// What holds for the whole process: which algorithm is asked for, and how often each has run.
#ifndef TF_OPS_WGRAD_PROCESS_STATE_H_
#define TF_OPS_WGRAD_PROCESS_STATE_H_

#include <cstdint>
#include <string>

#include "tf_ops/wgrad/cpu/algorithm.h"
#include "tf_ops/wgrad/status.h"

namespace wgrad {

// The algorithm that SetAlgorithm was last given; before that the one in TF_CONV_BACKPROP_ALGORITHM, or kAuto where
// that is unset or empty. kInvalidArgument while the variable's unknown value is in force.
Status RequestedAlgorithm(Algorithm* algorithm);
// Its name; the variable's own text where that is unknown.
std::string RequestedAlgorithmName();
void SetAlgorithm(Algorithm algorithm);

void CountRun(Algorithm algorithm);
int64_t RunCount(Algorithm algorithm);
void ResetRunCounts();

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_PROCESS_STATE_H_
