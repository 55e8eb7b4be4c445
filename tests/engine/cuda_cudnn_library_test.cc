// cuDNN absent or incomplete is a reason, never a crash.
#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/engine/check.h"
#include "tf_ops/wgrad/cuda/cudnn_library.h"

int main() {
  using namespace wgrad::cuda::cudnn;
  const char* root = std::getenv("TEST_TMPDIR");
  const std::string folder = std::string(root == nullptr ? "/tmp" : root) + "/cudnn";
  CHECK_EQ(std::system(("rm -rf " + folder + " && mkdir -p " + folder).c_str()), 0);
  CHECK_EQ(MissingLibrary(folder), "libcudnn_graph.so.9");
  for (const char* part : {"graph", "ops", "cnn", "engines_precompiled", "engines_runtime_compiled"}) {
    std::ofstream(folder + "/libcudnn_" + part + ".so.9") << "x";
  }
  CHECK_EQ(MissingLibrary(folder), "libcudnn_heuristic.so.9");
  std::ofstream(folder + "/libcudnn_heuristic.so.9") << "x";
  CHECK_EQ(MissingLibrary(folder), "");

  // A file that is no library, and, where the dynamic linker knows no cuDNN either, none at all.
  std::ofstream(folder + "/libcudnn.so.9") << "x";
  std::string why_not;
  if (Library(folder, &why_not) == nullptr) {
    CHECK_TRUE(why_not != "");
  } else {
    CHECK_EQ(why_not, "");
  }
  return Failures();
}
