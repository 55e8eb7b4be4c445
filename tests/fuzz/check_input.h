// What every fuzz target defines, for libfuzzer.cc and for driver.cc.
#ifndef TESTS_FUZZ_CHECK_INPUT_H_
#define TESTS_FUZZ_CHECK_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <string>

// Whether the engine does right by what these bytes describe; prints what it does not.
bool CheckInput(const uint8_t* data, size_t size);

// What the inputs so far have reached.
std::string Reached();

#endif  // TESTS_FUZZ_CHECK_INPUT_H_
