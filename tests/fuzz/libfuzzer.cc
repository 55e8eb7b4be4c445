// libFuzzer around CheckInput, for GCC: its coverage calls one function in each basic block instead of writing the
// counters that libFuzzer expects of Clang, so that function (which fuzz.sh lets the linker put in place of libFuzzer's
// own) counts into a table that libFuzzer reads as well.
#include <cstdlib>

#include "tests/fuzz/check_input.h"

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[1 << 16];

extern "C" {

__attribute__((no_sanitize_coverage, no_sanitize("address", "undefined"))) void __wrap___sanitizer_cov_trace_pc() {
  // Neighbouring blocks are at least 5 bytes apart, the length of the call.
  ++counters[reinterpret_cast<uintptr_t>(__builtin_return_address(0)) / 5 % sizeof(counters)];
}

// libFuzzer learns nothing from comparisons of floating-point numbers.
void __sanitizer_cov_trace_cmpf(float, float) {}
void __sanitizer_cov_trace_cmpd(double, double) {}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (!CheckInput(data, size)) std::abort();
  return 0;
}

}  // extern "C"
