"""Writes a table of README.md: which filter gradients TensorFlow computes on CPU, and which this plugin does.

Each cell is measured: a small problem is computed for each type, and compared with the definition in float64.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import sections

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from reference import DTYPES, Convolution

PLAIN = Convolution(image=(9, 8), channels=4, filters=6)
PADS = ((1, 2), (0, 3))
CONFIGURATIONS = {
    "": PLAIN,
    "explicit padding": dataclasses.replace(PLAIN, padding="EXPLICIT", pads=PADS),
    "dilation": dataclasses.replace(PLAIN, dilations=(2, 2)),
    "groups": dataclasses.replace(PLAIN, groups=2),
    "all three": dataclasses.replace(PLAIN, padding="EXPLICIT", pads=PADS, dilations=(2, 2), groups=2),
}
ROWS = {
    f"{data_format}{', ' if name else ''}{name}": dataclasses.replace(conv, data_format=data_format)
    for data_format in ("NHWC", "NCHW")
    for name, conv in CONFIGURATIONS.items()
}
# The last, because oneDNN writes beyond its memory: float32 is wrong, or the process ends.
ROWS["NHWC, 1x1 with a stride, 2 channels"] = Convolution(2, (6, 8), 2, (1, 1), 3, strides=(1, 2), padding="SAME")
# Title, op, whether the plugin is loaded, and TF_ENABLE_ONEDNN_OPTS.
COLUMNS = (
    ("stock V2", "Conv2DBackpropFilterV2", False, "1"),
    ("stock V1, Eigen", "Conv2DBackpropFilter", False, "0"),
    ("stock V1, oneDNN", "Conv2DBackpropFilter", False, "1"),
    ("this plugin", "Conv2DBackpropFilterV2", True, "1"),
)
# More than half and bfloat16 lose by rounding, less than a wrong tap makes.
TOLERANCE = 0.05


def computes(op: str, conv: Convolution, dtype: str) -> bool:
    """Whether the op runs on CPU and its result is that of the definition."""
    import tensorflow as tf

    x, dy = conv.data(dtype)
    size = (
        {"filter_sizes": conv.filter_shape}
        if op == "Conv2DBackpropFilter"
        else {"filter": tf.zeros(conv.filter_shape, dtype)}
    )
    try:
        with tf.device("/CPU:0"):
            dw = getattr(tf.raw_ops, op)(input=x, out_backprop=dy, **size, **conv.attributes)
    except tf.errors.OpError:
        return False
    expected = conv.filter_gradient(x, dy)
    return bool(np.linalg.norm(dw.numpy().astype(np.float64) - expected) < TOLERANCE * np.linalg.norm(expected))


def measure(op: str, with_plugin: bool) -> None:
    """Prints a JSON line, row and type, for each that works."""
    if with_plugin:
        import tensorflow_conv_backprop  # noqa: F401
    for row, conv in ROWS.items():
        for dtype in sorted(DTYPES, key="float32".__eq__):
            if computes(op, conv, dtype):
                print(json.dumps([row, dtype]), flush=True)


def cells(op: str, with_plugin: bool, onednn: str) -> Iterator[str]:
    """The column's cells, measured in a process of its own."""
    command = [sys.executable, __file__, op, *(["plugin"] if with_plugin else [])]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode > 0:  # below zero it is the signal that ended it
        process.check_returncode()
    working = [json.loads(line) for line in process.stdout.splitlines()]
    for row in ROWS:
        dtypes = [dtype for dtype in DTYPES if [row, dtype] in working]
        yield "all" if dtypes == list(DTYPES) else ", ".join(dtypes) or "none"


def main() -> None:
    columns = [list(cells(*column)) for _, *column in COLUMNS]
    header = ["configuration", *(title for title, *_ in COLUMNS)]
    lines = [header, ["---"] * len(header), *zip(ROWS, *columns, strict=True)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    sections.write(ROOT / "README.md", "tools/support_table.py", table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1], with_plugin="plugin" in sys.argv[2:])
    else:
        main()
