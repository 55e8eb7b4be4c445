"""`check`: every algorithm, on this machine, against the definition in float64."""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_conv_backprop import library
from tensorflow_conv_backprop.algorithm import ALGORITHMS, get_algorithm, set_algorithm
from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.cli.arguments import DTYPES, require_known_algorithm
from tensorflow_conv_backprop.cli.display import print_table, progress
from tensorflow_conv_backprop.cli.problem import Problem

# The relative L2 error that is promised; for half and bfloat16, one rounding on top of that of float32.
MAX_ERROR = {"float16": 2**-11 + 1.5e-6, "bfloat16": 2**-8 + 1.5e-6, "float32": 1.5e-6, "float64": 1e-14}

_ATTRIBUTES = ConvAttributes.of_arguments
# Together they reach each algorithm, layout and padding, the edges of tiles and vectors, and sums of 6000 products.
_PROBLEMS = (
    Problem((8, 28, 28, 64), (3, 3, 64, 64), _ATTRIBUTES(1, "SAME", "NHWC", 1)),
    Problem((2, 13, 17, 20), (3, 3, 20, 33), _ATTRIBUTES(1, "VALID", "NHWC", [2, 1])),
    Problem((2, 12, 19, 23), (3, 3, 12, 35), _ATTRIBUTES(1, "SAME", "NCHW", 1)),
    Problem((2, 56, 56, 3), (7, 7, 3, 64), _ATTRIBUTES(2, "SAME", "NHWC", 1)),
    Problem((8, 14, 14, 100), (1, 1, 100, 72), _ATTRIBUTES(1, "VALID", "NHWC", 1)),
    Problem((2, 15, 18, 5), (4, 2, 5, 9), _ATTRIBUTES([2, 3], [(0, 0), (1, 2), (0, 3), (0, 0)], "NHWC", [1, 2])),
    Problem((2, 28, 28, 48), (3, 3, 1, 48), _ATTRIBUTES(1, "SAME", "NHWC", 1)),
    Problem((2, 30, 27, 25), (5, 5, 2, 45), _ATTRIBUTES(2, "SAME", "NCHW", 1)),
    Problem((2, 57, 55, 20), (3, 3, 20, 33), _ATTRIBUTES(2, "SAME", "NHWC", 1)),
    Problem((2, 14, 14, 64), (3, 3, 16, 64), _ATTRIBUTES(1, "SAME", "NHWC", 1)),
)


@dataclasses.dataclass
class _Tally:
    """What was found for one device, algorithm and type."""

    problems: int = 0
    worst_error: float = 0.0
    failures: list[str] = dataclasses.field(default_factory=list)


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="a self-test of this machine",
        description="Computes some problems with every algorithm in every type, and compares with the definition in "
        "float64; float32 without tf32. Takes less than a minute. Exit code 1 means that a result was wrong or differed "
        "between two runs.",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    require_known_algorithm()
    start = time.perf_counter()
    tallies: dict[tuple[str, str, str], _Tally] = collections.defaultdict(_Tally)
    problems = [dataclasses.replace(problem, dtype=dtype) for dtype in DTYPES for problem in _PROBLEMS]
    with _settings_restored():
        tf.config.experimental.enable_tensor_float_32_execution(False)
        for problem in progress(problems, "checking"):
            _check(problem, tallies)

    print_table(
        ["device", "algorithm", "type", "problems", "largest error", "allowed", ""],
        (
            (*key, str(tally.problems), f"{tally.worst_error:.1e}", f"{MAX_ERROR[key[2]]:.1e}", _verdict(tally))
            for key, tally in sorted(tallies.items(), key=lambda item: item[0][:2])
        ),
    )
    if library.lacks_gpu_kernels():
        print("the GPU was not checked: this build has no kernels for it")
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    for failure in failures:
        print(failure)
    runs = sum(tally.problems for tally in tallies.values())
    outcome = f"{len(failures)} of {runs} checks failed" if failures else f"all {runs} checks passed"
    print(f"{outcome} in {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


def _verdict(tally: _Tally) -> str:
    return f"{len(tally.failures)} FAILED" if tally.failures else "ok"


@contextlib.contextmanager
def _settings_restored() -> Iterator[None]:
    algorithm, tf32 = get_algorithm(), tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        yield
    finally:
        set_algorithm(algorithm)
        tf.config.experimental.enable_tensor_float_32_execution(tf32)


def _check(problem: Problem, tallies: dict[tuple[str, str, str], _Tally]) -> None:
    x, dy = problem.data()
    w = problem.filter()
    expected = problem.definition(x, dy)
    for device, algorithm in _ways(problem):
        set_algorithm(algorithm)
        tally = tallies[device, algorithm, problem.dtype]
        tally.problems += 1
        try:
            with tf.device(device):
                dw, again = (problem.filter_gradient(x, w, dy).numpy() for _ in range(2))
        except tf.errors.OpError as error:
            tally.failures.append(f"{device} {algorithm} {problem}: {error.message}")
            continue
        relative_error = float(np.linalg.norm(dw.astype(np.float64) - expected) / np.linalg.norm(expected))
        tally.worst_error = max(tally.worst_error, relative_error)
        if not relative_error <= MAX_ERROR[problem.dtype]:  # nor NaN
            tally.failures.append(f"{device} {algorithm} {problem}: the relative error is {relative_error:.1e}")
        elif device == "CPU" and dw.tobytes() != again.tobytes():
            tally.failures.append(f"{device} {algorithm} {problem}: two runs differ")


def _ways(problem: Problem) -> Iterator[tuple[str, str]]:
    """Devices and algorithms that can compute the problem."""
    for algorithm in ALGORITHMS[1:]:
        with contextlib.suppress(ValueError):
            problem.plan(algorithm)
            yield "CPU", algorithm
    if library.uses_gpu():
        yield "GPU", "auto"
