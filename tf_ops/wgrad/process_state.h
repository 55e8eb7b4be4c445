// What holds for the whole process: which algorithm is asked for, and how often each has run.
#ifndef TF_OPS_WGRAD_PROCESS_STATE_H_
#define TF_OPS_WGRAD_PROCESS_STATE_H_

#include <cstdint>
#include <map>
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

// By the name of what ran: on the CPU one of kAlgorithmNames, all of which but kAuto are always there, on a GPU "cudnn"
// or one of cuda::kMethodNames.
void CountRun(const std::string& name);
std::map<std::string, int64_t> RunCounts();
void ResetRunCounts();

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_PROCESS_STATE_H_
