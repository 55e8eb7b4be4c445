"""`bench`: the plugin beside the Conv2DBackpropFilter of the installed TensorFlow."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tensorflow_conv_backprop import library
from tensorflow_conv_backprop.algorithm import reset_run_counts, run_counts
from tensorflow_conv_backprop.cli.arguments import ArgumentError, NamedProblem, add_problem_arguments, problems_of
from tensorflow_conv_backprop.cli.display import print_table, progress
from tensorflow_conv_backprop.cli.extras import need
from tensorflow_conv_backprop.cli.problem import Problem


@dataclasses.dataclass(frozen=True)
class Result:
    """Medians of one problem; `tensorflow_ms` is None where TensorFlow has no kernel."""

    name: str
    occurrences: int
    algorithm: str
    gflop: float
    plugin_ms: float
    tensorflow_ms: float | None


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="how fast, beside the installed TensorFlow",
        description="Times the plugin and TensorFlow's own Conv2DBackpropFilter in turn, and prints the medians.\n"
        "TensorFlow has no kernel for some problems, and says so on standard error.",
    )
    add_problem_arguments(parser)
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each problem (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--plot", metavar="FILE", help="draw bars into this file, such as bench.png")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    problems = problems_of(arguments)
    pyplot = _pyplot(arguments.plot) if arguments.plot else None
    results = [measure(problem, arguments.seconds) for problem in progress(problems, "measuring")]
    if arguments.json:
        print(json.dumps({**_conditions(arguments), "results": [dataclasses.asdict(r) for r in results]}, indent=2))
    else:
        _print(results)
    if pyplot:
        _plot(pyplot, results, _what(arguments), arguments.plot)
    return 0


def measure(named: NamedProblem, seconds: float) -> Result:
    """Runs both in turn for about `seconds`."""
    problem = named.problem
    x, dy = (tf.constant(values) for values in problem.data())
    w = problem.filter()
    reset_run_counts()
    try:
        problem.filter_gradient(x, w, dy)
    except tf.errors.OpError as error:  # of an algorithm that is forced, or of memory
        raise ArgumentError(f"{named.name}: {_without_node(error.message)}") from None
    (algorithm,) = (name for name, count in run_counts().items() if count)
    functions = [lambda: problem.filter_gradient(x, w, dy)]
    # As a tensor, as w is one: to make one of it anew for each call would take as long as a small layer.
    filter_sizes = tf.constant(problem.filter_shape)
    try:
        stock_filter_gradient(problem, x, filter_sizes, dy)
        functions.append(lambda: stock_filter_gradient(problem, x, filter_sizes, dy))
    except tf.errors.OpError:
        pass  # no kernel
    plugin_ms, *tensorflow_ms = interleaved_medians_ms(functions, seconds)
    return Result(
        named.name,
        named.occurrences,
        algorithm,
        problem.flops / 1e9,
        plugin_ms,
        tensorflow_ms[0] if tensorflow_ms else None,
    )


def _without_node(message: str) -> str:
    """An op's error, without what TensorFlow adds before and after."""
    return re.sub(r"^\{\{.*?\}\} | \[Op:.*", "", message)


def stock_filter_gradient(problem: Problem, x: tf.Tensor, filter_sizes: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=filter_sizes, out_backprop=dy, **problem.attributes.as_arguments()
    )


def interleaved_medians_ms(functions: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """The median milliseconds of each, run in turn so that a slow moment of the machine meets all; at least 3 rounds."""
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while len(times[0]) < 3 or time.perf_counter() < end:
        for function, function_times in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            tf.test.experimental.sync_devices()  # a GPU returns before it is done
            function_times.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(function_times) for function_times in times]


def _what(arguments: argparse.Namespace) -> str:
    return " ".join(filter(None, (arguments.what, arguments.filter)))


def _conditions(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "what": _what(arguments),
        "dtype": arguments.dtype,
        "data_format": arguments.data_format,
        "tensorflow": tf.version.VERSION,
        "device": "GPU" if library.uses_gpu() else "CPU",
        "threads": _threads(),
    }


def _threads() -> int:
    """Of an op on CPU: what was asked of TensorFlow, else one for each processor."""
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    asked = tf.config.threading.get_intra_op_parallelism_threads() or (int(variable) if variable.isdigit() else 0)
    return asked or len(os.sched_getaffinity(0))


def _print(results: Sequence[Result]) -> None:
    rows = [
        (
            result.name,
            str(result.occurrences),
            result.algorithm,
            f"{result.plugin_ms:.2f}",
            f"{result.gflop / result.plugin_ms * 1e3:.0f}",
            "no kernel" if result.tensorflow_ms is None else f"{result.tensorflow_ms:.2f}",
            "" if result.tensorflow_ms is None else f"{result.tensorflow_ms / result.plugin_ms:.2f}x",
        )
        for result in results
    ]
    print_table(["problem", "layers", "algorithm", "plugin ms", "GFLOP/s", "TensorFlow", "speedup"], rows)
    both = [
        (r.occurrences * r.plugin_ms, r.occurrences * r.tensorflow_ms) for r in results if r.tensorflow_ms is not None
    ]
    if len(both) > 1:
        plugin_ms, tensorflow_ms = (sum(times) for times in zip(*both, strict=True))
        speedup = tensorflow_ms / plugin_ms
        print(f"all that TensorFlow runs: plugin {plugin_ms:.1f} ms, TensorFlow {tensorflow_ms:.1f} ms, {speedup:.2f}x")


def _pyplot(path: str) -> Any:
    """Matplotlib, if it can write such a file."""
    pyplot = need("matplotlib.pyplot")
    kinds = sorted(pyplot.figure().canvas.get_supported_filetypes())
    if pathlib.Path(path).suffix[1:].lower() not in kinds:
        raise ArgumentError(f"--plot must end in one of .{', .'.join(kinds)}, got {path}")
    if not pathlib.Path(path).parent.is_dir():
        raise ArgumentError(f"--plot must be in a folder that exists, got {path}")
    return pyplot


def _plot(pyplot: Any, results: Sequence[Result], title: str, path: str) -> None:
    figure, axes = pyplot.subplots(figsize=(8, 1.5 + 0.4 * len(results)), layout="constrained")
    rows = range(len(results))
    axes.barh([row - 0.2 for row in rows], [r.plugin_ms for r in results], 0.4, label="this plugin", color="#0b6e99")
    tensorflow_ms = [r.tensorflow_ms or 0.0 for r in results]
    axes.barh([row + 0.2 for row in rows], tensorflow_ms, 0.4, label="TensorFlow", color="#f28e2b")
    for row, result in zip(rows, results, strict=True):
        if result.tensorflow_ms is None:
            axes.text(0, row + 0.2, " no kernel", va="center", color="#555555")
    axes.set_yticks(rows, [result.name for result in results])
    axes.margins(y=0.02)
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds", title=f"Filter gradients, {title}")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
