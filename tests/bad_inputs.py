"""Calls the op with everything it must reject, in the manner and on the device that the command line names.

Run by test_bad_input.py in a process of its own. Prints one JSON object per line: {"start": name} before a case and
{"name", "type", "message"} after it, so that a crash shows which case it was.

    python bad_inputs.py MANNER DEVICE [FIRST_CASE]
"""

from __future__ import annotations

import collections
import json
import sys
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as plugin

# A valid call; each case changes some of it.
VALID = {
    "input": ([1, 3, 3, 2], "float32"),
    "filter": ([2, 2, 2, 4], "float32"),
    "out_backprop": ([1, 2, 2, 4], "float32"),
    "strides": [1, 1, 1, 1],
    "padding": "VALID",
}
TENSORS = ("input", "filter", "out_backprop")

# What was changed, and a pattern for the message in graphs and eagerly: ours, or TensorFlow's where it is first.
Case = collections.namedtuple("Case", ["changes", "message"])


def shapes(**changes: list[int]) -> dict[str, Any]:
    return {name: (shape, "float32") for name, shape in changes.items()}


def explicit(*paddings: int) -> dict[str, Any]:
    return {"padding": "EXPLICIT", "explicit_paddings": list(paddings)}


NCHW = {"data_format": "NCHW"} | shapes(input=[1, 2, 3, 3], filter=[2, 2, 2, 4], out_backprop=[1, 4, 2, 2])
RANK = "must have 4 dimensions, got shape|Shape must be rank 4 but is rank"

CASES = {
    # Ranks.
    "input scalar": Case(shapes(input=[]), r"input must have 4 dimensions, got shape \[\]"),
    "input rank 3": Case(shapes(input=[3, 3, 2]), r"input must have 4 dimensions, got shape \[3,3,2\]"),
    "input rank 5": Case(shapes(input=[1, 1, 3, 3, 2]), r"input must have 4 dimensions, got shape \[1,1,3,3,2\]"),
    "filter scalar": Case(shapes(filter=[]), RANK),
    "filter rank 3": Case(shapes(filter=[2, 2, 2]), RANK),
    "filter rank 5": Case(shapes(filter=[1, 2, 2, 2, 4]), RANK),
    "out_backprop scalar": Case(shapes(out_backprop=[]), r"out_backprop must have 4 dimensions, got shape \[\]"),
    "out_backprop rank 1": Case(shapes(out_backprop=[16]), r"out_backprop must have 4 dimensions, got shape \[16\]"),
    "all scalar": Case(shapes(input=[], filter=[], out_backprop=[]), RANK),
    # Strides and dilations.
    **{
        f"{name} {values}": Case({name: values}, message)
        for name in ("strides", "dilations")
        for values, message in [
            ([], f"{name} must have 4 values, got 0"),
            ([1], f"{name} must have 4 values, got 1"),
            ([1, 1, 1], f"{name} must have 4 values, got 3"),
            ([1, 1, 1, 1, 1], f"{name} must have 4 values, got 5"),
            ([1, 0, 1, 1], rf"{name}\[1\] must be in \[1, 2147483647\], got 0"),
            ([1, 1, 0, 1], rf"{name}\[2\] must be in \[1, 2147483647\], got 0"),
            ([1, -1, 1, 1], rf"{name}\[1\] must be in \[1, 2147483647\], got -1"),
            ([1, 1, -(2**31), 1], rf"{name}\[2\] must be in \[1, 2147483647\], got -2147483648"),
            ([1, 2**31, 1, 1], rf"{name}\[1\] must be in \[1, 2147483647\], got 2147483648"),
            ([1, 1, 2**32 + 1, 1], rf"{name}\[2\] must be in \[1, 2147483647\], got 4294967297"),
            ([1, 2**63 - 1, 1, 1], rf"{name}\[1\] must be in \[1, 2147483647\], got 9223372036854775807"),
            ([1, 1, 1, -(2**63)], rf"{name}\[3\] must be in \[1, 2147483647\], got -9223372036854775808"),
            ([0, 1, 1, 1], rf"{name}\[0\] must be in \[1, 2147483647\], got 0"),
            ([2, 1, 1, 1], rf"{name}\[0\] \(batch\) must be 1, got 2"),
            ([1, 1, 1, 2], rf"{name}\[3\] \(channels\) must be 1, got 2"),
            (1, f"{name} must be a sequence of integers, got 1"),
            ([1, 1.5, 1, 1], rf"{name} must be a sequence of integers, got \[1, 1.5, 1, 1\]"),
            ([1, 2**63, 1, 1], "out of range|too big|9223372036854775808"),
            (["a", "b", "c", "d"], "int"),
        ]
    },
    "NCHW strides of channels": Case(NCHW | {"strides": [1, 2, 1, 1]}, r"strides\[1\] \(channels\) must be 1, got 2"),
    "NCHW dilations of channels": Case(
        NCHW | {"dilations": [1, 3, 1, 1]}, r"dilations\[1\] \(channels\) must be 1, got 3"
    ),
    "NCHW stride 0": Case(NCHW | {"strides": [1, 1, 1, 0]}, r"strides\[3\] must be in \[1, 2147483647\], got 0"),
    "largest stride": Case({"strides": [1, 2**31 - 1, 1, 1]}, "out_backprop height must be 1, got 2"),
    "largest stride, SAME": Case(
        {"strides": [1, 1, 2**31 - 1, 1], "padding": "SAME"}, "out_backprop height must be 3, got 2"
    ),
    "largest dilation": Case(
        {"dilations": [1, 2**31 - 1, 1, 1]}, "filter height must fit .* of 3, got 2, which spans 2147483648"
    ),
    "stride and dilation largest": Case(
        {"dilations": [1, 2**31 - 1, 2**31 - 1, 1], "strides": [1, 2**31 - 1, 2**31 - 1, 1]},
        "out_backprop height must be 0, got 2",
    ),
    # Paddings.
    "padding FULL": Case({"padding": "FULL"}, "FULL.*(allowed values|not in)"),
    "padding None": Case({"padding": None}, "Expected string for argument 'padding'"),
    "padding list": Case({"padding": [[0, 0], [0, 0], [0, 0], [0, 0]]}, "Expected string for argument 'padding'"),
    "EXPLICIT without": Case(explicit(), "explicit_paddings must have 8 values when padding is EXPLICIT, got 0"),
    "EXPLICIT of 4": Case(explicit(0, 0, 0, 0), "explicit_paddings must have 8 values when padding is EXPLICIT, got 4"),
    "EXPLICIT of 9": Case(explicit(*[0] * 9), "explicit_paddings must have 8 values when padding is EXPLICIT, got 9"),
    "EXPLICIT negative": Case(
        explicit(0, 0, 0, -1, 0, 0, 0, 0), r"explicit_paddings\[3\] must be in \[0, 2147483647\], got -1"
    ),
    "EXPLICIT huge": Case(
        explicit(0, 0, 0, 0, 2**62, 0, 0, 0),
        r"explicit_paddings\[4\] must be in \[0, 2147483647\], got 4611686018427387904",
    ),
    "EXPLICIT largest": Case(
        explicit(0, 0, 2**31 - 1, 2**31 - 1, 0, 0, 0, 0), "out_backprop height must be 4294967296, got 2"
    ),
    "EXPLICIT batch": Case(explicit(0, 1, 0, 0, 0, 0, 0, 0), r"explicit_paddings\[1\] \(batch\) must be 0, got 1"),
    "EXPLICIT channels": Case(
        explicit(0, 0, 0, 0, 0, 0, 2, 0), r"explicit_paddings\[6\] \(channels\) must be 0, got 2"
    ),
    "EXPLICIT NCHW channels": Case(
        NCHW | explicit(0, 0, 0, 2, 0, 0, 0, 0), r"explicit_paddings\[3\] \(channels\) must be 0, got 2"
    ),
    "VALID with paddings": Case(
        {"explicit_paddings": [0] * 8}, "explicit_paddings must be empty when padding is VALID, got 8 values"
    ),
    "SAME with paddings": Case(
        {"explicit_paddings": [0, 0], "padding": "SAME"},
        "explicit_paddings must be empty when padding is SAME, got 2 values",
    ),
    # Other attributes.
    "data_format NCWH": Case({"data_format": "NCWH"}, "NCWH.*(allowed values|not in)"),
    "data_format NCHW_VECT_C": Case({"data_format": "NCHW_VECT_C"}, "NCHW_VECT_C.*(allowed values|not in)"),
    "use_cudnn_on_gpu 3": Case({"use_cudnn_on_gpu": 3}, "Expected bool for argument 'use_cudnn_on_gpu'"),
    # Types.
    "int32": Case({name: (VALID[name][0], "int32") for name in TENSORS}, "int32"),
    "complex64": Case({name: (VALID[name][0], "complex64") for name in TENSORS}, "complex64"),
    "string": Case({name: (VALID[name][0], "str") for name in TENSORS}, "string"),
    "filter of another type": Case({"filter": (VALID["filter"][0], "float64")}, "float64|double"),
    "out_backprop of another type": Case({"out_backprop": (VALID["out_backprop"][0], "float16")}, "float16|half"),
    # Channels and groups.
    "filter depth 0": Case(shapes(filter=[2, 2, 0, 4]), "filter in_channels must be at least 1, got 0"),
    "all depths 0": Case(
        shapes(input=[1, 3, 3, 0], filter=[2, 2, 0, 4]), "filter in_channels must be at least 1, got 0"
    ),
    "filter height 0": Case(shapes(filter=[0, 2, 2, 4]), "filter height must be at least 1, got 0"),
    "filter width 0": Case(shapes(filter=[2, 0, 2, 4]), "filter width must be at least 1, got 0"),
    "filter height 0, SAME": Case(
        shapes(filter=[0, 2, 2, 4], out_backprop=[1, 3, 3, 4]) | {"padding": "SAME"},
        "filter height must be at least 1, got 0",
    ),
    "filter deeper than input": Case(
        shapes(filter=[2, 2, 4, 4]), "input channels must be a multiple of filter in_channels 4, got 2"
    ),
    "depth not divisible": Case(
        shapes(input=[1, 3, 3, 5]), "input channels must be a multiple of filter in_channels 2, got 5"
    ),
    "filters not divisible": Case(
        shapes(input=[1, 3, 3, 6]), r"filter out_channels must be a multiple of the 3 groups .*got 4"
    ),
    # The shape of out_backprop.
    "batch": Case(shapes(out_backprop=[2, 2, 2, 4]), "out_backprop batch must be 1, got 2"),
    "batch 0": Case(shapes(out_backprop=[0, 2, 2, 4]), "out_backprop batch must be 1, got 0"),
    "empty input, full out_backprop": Case(shapes(input=[0, 3, 3, 2]), "out_backprop batch must be 0, got 1"),
    "height": Case(shapes(out_backprop=[1, 3, 2, 4]), "out_backprop height must be 2, got 3"),
    "width": Case(shapes(out_backprop=[1, 2, 1, 4]), "out_backprop width must be 2, got 1"),
    "width 0": Case(shapes(out_backprop=[1, 2, 0, 4]), "out_backprop width must be 2, got 0"),
    "channels": Case(shapes(out_backprop=[1, 2, 2, 3]), "out_backprop channels must be 4, got 3"),
    "NHWC read as NCHW": Case(
        {"data_format": "NCHW"}, "input channels must be a multiple of filter in_channels 2, got 3"
    ),
    "NCHW height": Case(NCHW | shapes(out_backprop=[1, 4, 3, 2]), "out_backprop height must be 2, got 3"),
    "VALID read as SAME": Case({"padding": "SAME"}, "out_backprop height must be 3, got 2"),
    "stride forgotten": Case({"strides": [1, 2, 2, 1]}, "out_backprop height must be 1, got 2"),
    "filter larger than input": Case(
        shapes(filter=[5, 2, 2, 4]), "filter height must fit into the padded input height of 3, got 5, which spans 5"
    ),
    "dilated filter larger than input": Case(
        {"dilations": [1, 1, 4, 1]},
        "filter width must fit into the padded input width of 3, got 2, which spans 5 with dilation 4",
    ),
    # Sizes whose products or spans overflow; without elements, such tensors exist.
    "input overflows": Case(
        shapes(input=[0, 2**30, 2**29, 2], out_backprop=[0, 2**30 - 1, 2**29 - 1, 1]),
        r"input must have fewer than 2\^59 elements, got shape \[0,1073741824,536870912,2\]",
    ),
    "filter overflows": Case(
        shapes(filter=[2**29, 2**30, 2, 0], out_backprop=[1, 2, 2, 0]), r"filter must have fewer than 2\^59 elements"
    ),
    "out_backprop overflows": Case(
        shapes(out_backprop=[0, 2**40, 2**20, 1]), r"out_backprop must have fewer than 2\^59 elements"
    ),
    "filter span overflows": Case(
        shapes(filter=[2**40, 1, 2, 0], out_backprop=[1, 3, 3, 0])
        | {"dilations": [1, 2**31 - 1, 1, 1], "padding": "SAME"},
        r"filter height must span less than 2\^62 inputs, got 1099511627776 with dilation 2147483647",
    ),
}


def operands(changes: dict[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the attributes of a call."""
    call = VALID | changes
    tensors = {name: np.ones(*call.pop(name)) for name in TENSORS}
    return tensors, call


def run(manner: str, changes: dict[str, Any]) -> None:
    arrays, attributes = operands(changes)
    if manner == "eager":
        plugin.conv2d_backprop_filter_v2(**{k: tf.constant(v) for k, v in arrays.items()}, **attributes)
    elif manner == "function":
        # Constants: TensorFlow may call the kernel while it optimises the graph.
        tf.function(
            lambda: plugin.conv2d_backprop_filter_v2(**{k: tf.constant(v) for k, v in arrays.items()}, **attributes),
            autograph=False,
        )()
    elif manner == "compiled function":
        tf.function(
            lambda *args: plugin.conv2d_backprop_filter_v2(*args, **attributes), jit_compile=True, autograph=False
        )(*(tf.constant(array) for array in arrays.values()))
    elif manner == "function of unknown shapes":
        tf.function(
            lambda *args: plugin.conv2d_backprop_filter_v2(*args, **attributes),
            input_signature=[tf.TensorSpec(None, tf.as_dtype(array.dtype)) for array in arrays.values()],
            autograph=False,
        )(*(tf.constant(array) for array in arrays.values()))
    else:
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            placeholders = {k: tf.compat.v1.placeholder(tf.as_dtype(v.dtype)) for k, v in arrays.items()}
            result = plugin.compat.v1.conv2d_backprop_filter_v2(**placeholders, **attributes)
            session.run(result, {placeholders[name]: array for name, array in arrays.items()})


MANNERS = ("eager", "function", "compiled function", "function of unknown shapes", "v1 session")


def report(**fields: str | None) -> None:
    print(json.dumps(fields), flush=True)


def main(manner: str, device: str, first: str | None) -> None:
    names = list(CASES)
    with tf.device(device):
        run(manner, {})  # what is not changed is valid
    for name in names[names.index(first) if first else 0 :]:
        report(start=name)
        try:
            with tf.device(device):
                run(manner, CASES[name].changes)
            report(name=name, type=None, message="")
        except Exception as error:  # noqa: BLE001 (which type it must be is for the test to say)
            report(name=name, type=type(error).__name__, message=str(error))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None)
