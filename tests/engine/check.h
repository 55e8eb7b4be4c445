// Assertions for the engine's tests. A failed one is printed and remembered; main() ends with `return Failures();`.
#ifndef TESTS_ENGINE_CHECK_H_
#define TESTS_ENGINE_CHECK_H_

#include <iostream>

inline int& Failures() {
  static int failures = 0;
  return failures;
}

#define CHECK_OP(a, op, b)                                                                                          \
  do {                                                                                                              \
    const auto check_a = (a);                                                                                       \
    const auto check_b = (b);                                                                                       \
    if (!(check_a op check_b)) {                                                                                    \
      std::cerr << __FILE__ << ":" << __LINE__ << ": " #a " " #op " " #b ", with " << check_a << " and " << check_b \
                << "\n";                                                                                            \
      Failures() = 1;                                                                                               \
    }                                                                                                               \
  } while (false)

#define CHECK_TRUE(condition) CHECK_OP(static_cast<bool>(condition), ==, true)
#define CHECK_EQ(a, b) CHECK_OP(a, ==, b)
#define CHECK_LE(a, b) CHECK_OP(a, <=, b)

#endif  // TESTS_ENGINE_CHECK_H_
