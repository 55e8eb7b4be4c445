// Small problems that reach the planner's choices: every one is valid, and none takes long.
#ifndef TESTS_FUZZ_DRAW_PROBLEM_H_
#define TESTS_FUZZ_DRAW_PROBLEM_H_

#include "tests/fuzz/bytes.h"
#include "tf_ops/wgrad/problem.h"

wgrad::Problem DrawProblem(Bytes* bytes);

#endif  // TESTS_FUZZ_DRAW_PROBLEM_H_
