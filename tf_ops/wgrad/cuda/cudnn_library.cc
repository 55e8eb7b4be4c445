#include "tf_ops/wgrad/cuda/cudnn_library.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <utility>

namespace wgrad::cuda::cudnn {
namespace {

constexpr char kName[] = "libcudnn.so.9";
constexpr const char* kOpenedOnDemand[] = {
    "libcudnn_graph.so.9",     "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",       "libcudnn_engines_precompiled.so.9",
    "libcudnn_heuristic.so.9", "libcudnn_engines_runtime_compiled.so.9",
};

std::string FolderOf(void* library) {
  link_map* map = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return "";
  const std::string path = map->l_name;
  return path.substr(0, path.rfind('/'));
}

void* Open(const std::string& folder) {
  if (void* loaded = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return loaded;
  if (!folder.empty()) {
    if (void* beside = dlopen((folder + "/" + kName).c_str(), RTLD_NOW | RTLD_LOCAL)) return beside;
  }
  return dlopen(kName, RTLD_NOW | RTLD_LOCAL);
}

// The functions, or why they cannot be had.
std::pair<Functions, std::string> Load(const std::string& folder) {
  Functions functions = {};
  void* library = Open(folder);
  if (library == nullptr) return {functions, dlerror()};
  const std::string missing = MissingLibrary(FolderOf(library));
  if (!missing.empty()) return {functions, missing + " is missing from " + FolderOf(library)};
  std::string absent;
  const auto find = [&](const char* name) {
    void* function = dlsym(library, name);
    if (function == nullptr) absent = name;
    return function;
  };
  functions.GetErrorString = reinterpret_cast<decltype(functions.GetErrorString)>(find("cudnnGetErrorString"));
#define WGRAD_CUDNN_FIND(name, parameters) \
  functions.name = reinterpret_cast<decltype(functions.name)>(find("cudnn" #name));
  WGRAD_CUDNN_FUNCTIONS(WGRAD_CUDNN_FIND)
#undef WGRAD_CUDNN_FIND
  return {functions, absent.empty() ? "" : "it has no " + absent};
}

}  // namespace

std::string MissingLibrary(const std::string& folder) {
  for (const char* name : kOpenedOnDemand) {
    if (access((folder + "/" + name).c_str(), R_OK) != 0) return name;
  }
  return "";
}

const Functions* Library(const std::string& folder, std::string* why_not) {
  static const std::pair<Functions, std::string>* const loaded = new std::pair<Functions, std::string>(Load(folder));
  *why_not = loaded->second;
  return why_not->empty() ? &loaded->first : nullptr;
}

}  // namespace wgrad::cuda::cudnn
