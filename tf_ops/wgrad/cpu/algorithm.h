#ifndef TF_OPS_WGRAD_CPU_ALGORITHM_H_
#define TF_OPS_WGRAD_CPU_ALGORITHM_H_

#include <cstdint>
#include <string>

namespace wgrad {

enum class Algorithm : int32_t { kAuto, kDirect, kWinograd, kDepthwise, kReference };

inline constexpr const char* kAlgorithmNames[] = {"auto", "direct", "winograd", "depthwise", "reference"};

inline const char* Name(Algorithm algorithm) { return kAlgorithmNames[static_cast<int>(algorithm)]; }

// True and fills `algorithm` when `name` is one of kAlgorithmNames.
inline bool ParseAlgorithm(const std::string& name, Algorithm* algorithm) {
  for (int i = 0; i < static_cast<int>(sizeof(kAlgorithmNames) / sizeof(kAlgorithmNames[0])); ++i) {
    if (name == kAlgorithmNames[i]) {
      *algorithm = static_cast<Algorithm>(i);
      return true;
    }
  }
  return false;
}

}  // namespace wgrad

#endif  // TF_OPS_WGRAD_CPU_ALGORITHM_H_
