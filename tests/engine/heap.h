#ifndef TESTS_ENGINE_HEAP_H_
#define TESTS_ENGINE_HEAP_H_

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "tf_ops/wgrad/cpu/engine.h"

// Scratch memory filled with NaN, so that an element that is read before it is written shows in dW.
class Heap : public wgrad::Scratch {
 public:
  void* Allocate(size_t bytes) override {
    bytes = (bytes + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, bytes);
    std::memset(memory, 0xff, bytes);
    blocks_.emplace_back(memory, std::free);
    return memory;
  }

 private:
  std::vector<std::unique_ptr<void, void (*)(void*)>> blocks_;
};

#endif  // TESTS_ENGINE_HEAP_H_
