"""Measures the rounding errors of every algorithm, and writes them into the tables of docs/numerics.md."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import sections
import tensorflow as tf
import tensorflow_conv_backprop as plugin

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference import Convolution, numpy_dtype
from tensorflow_conv_backprop.algorithm import ALGORITHMS

PAGE = ROOT / "docs" / "numerics.md"

# An error grows with the number of pixels that are summed, not with the channels: few of them, so that the definition
# can be computed in extended precision.
PROBLEMS = {
    "3 x 3, 8 images of 6 x 6": Convolution(8, (6, 6), 32, filters=32, padding="SAME"),
    "3 x 3, 8 images of 7 x 7": Convolution(8, (7, 7), 32, filters=32, padding="SAME"),
    "3 x 3, 8 images of 56 x 56": Convolution(8, (56, 56), 16, filters=16, padding="SAME"),
    "3 x 3 of stride 2, 8 images of 112 x 112": Convolution(
        8, (112, 112), 16, filters=16, strides=(2, 2), padding="SAME"
    ),
    "7 x 7 of stride 2, 8 images of 112 x 112": Convolution(
        8, (112, 112), 3, (7, 7), 16, strides=(2, 2), padding="SAME"
    ),
    "3 x 3 depthwise, 8 images of 56 x 56": Convolution(8, (56, 56), 32, filters=32, groups=32, padding="SAME"),
}
KINDS = ("normal", "relu", "range")  # of Convolution.data
STOCK = "TensorFlow's `Conv2DBackpropFilter`"


def algorithms(conv: Convolution) -> Iterator[str]:
    """Those that can compute the problem, and TensorFlow's where it has a kernel for it on every CPU."""
    for algorithm in ALGORITHMS[1:]:
        try:
            plugin.plan(conv.input_shape, conv.filter_shape, algorithm=algorithm, **conv.attributes)
        except ValueError:
            continue
        yield algorithm
    if conv.groups == 1:
        yield STOCK


def compute(algorithm: str, conv: Convolution, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    with tf.device("/CPU:0"):
        if algorithm == STOCK:
            dw = tf.raw_ops.Conv2DBackpropFilter(
                input=x, filter_sizes=conv.filter_shape, out_backprop=dy, **conv.attributes
            )
        else:
            plugin.set_algorithm(algorithm)
            dw = plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape, x.dtype), dy, **conv.attributes)
    return dw.numpy()


def relative_error(dw: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm((dw - exact).astype(np.float64)) / np.linalg.norm(exact.astype(np.float64)))


def table(dtypes: tuple[str, ...], cell: Callable[[np.ndarray, np.ndarray, str], str]) -> Iterator[str]:
    """Rows of Markdown; `cell(dw, exact, dtype)` gives the text of one result."""
    columns = [(dtype, kind) for dtype in dtypes for kind in KINDS]
    yield "| problem | algorithm | " + " | ".join(f"{dtype}, {kind}" for dtype, kind in columns) + " |\n"
    yield "|---" * 2 + "|---:" * len(columns) + "|\n"
    for title, conv in PROBLEMS.items():
        data = {column: conv.data(column[0], kind=column[1]) for column in columns}
        exact = {column: conv.filter_gradient(x, dy, np.longdouble) for column, (x, dy) in data.items()}
        for algorithm in algorithms(conv):
            cells = [cell(compute(algorithm, conv, *data[column]), exact[column], column[0]) for column in columns]
            yield f"| {title} | {algorithm} | " + " | ".join(cells) + " |\n"


def error_cell(dw: np.ndarray, exact: np.ndarray, dtype: str) -> str:
    return f"{relative_error(dw, exact):.1e}"


def rounding_cell(dw: np.ndarray, exact: np.ndarray, dtype: str) -> str:
    """The error as a multiple of that of the exact result, rounded to the type."""
    rounded = exact.astype(numpy_dtype(dtype))
    return f"{relative_error(dw.astype(np.float64), exact) / relative_error(rounded.astype(np.float64), exact):.2f}"


def main() -> None:
    wide = "".join(table(("float32", "float64"), error_cell))
    narrow = "".join(table(("float16", "bfloat16"), rounding_cell))
    isa = plugin.plan([1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], "VALID").isa
    sections.write(
        PAGE,
        "tools/measure_errors.py",
        f"\nMeasured with version {plugin.__version__}, kernels for {isa}, TensorFlow {tf.version.VERSION}.\n\n"
        f"Relative error in the L2 norm:\n\n{wide}\n"
        f"Error as a multiple of that which rounding the exact result once would make:\n\n{narrow}\n",
    )


if __name__ == "__main__":
    main()
