"""Every type, layout, padding and geometry against the float64 reference, with every algorithm."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import DTYPES, Convolution, assert_within_contract
from tensorflow_conv_backprop.algorithm import ALGORITHMS

BUT_REFERENCE = tuple(name for name in ALGORITHMS if name != "reference")
# More on one side than on the other; larger than any kernel below on one.
PADS = ((1, 2), (0, 3))

GEOMETRIES = {
    "3x3": Convolution(),
    "1x1": Convolution(kernel=(1, 1), channels=5, filters=7),
    "1x1 stride 2": Convolution(kernel=(1, 1), strides=(2, 2), channels=4, filters=9),
    "3x3 stride 2": Convolution(strides=(2, 2), image=(9, 8)),
    "3x3 dilation 2": Convolution(dilations=(2, 2), image=(8, 9)),
    "3x3 stride 2 dilation 3": Convolution(strides=(2, 2), dilations=(3, 3), image=(10, 9)),
    "5x5": Convolution(kernel=(5, 5), image=(7, 8)),
    "7x7 stride 2, 3 channels": Convolution(kernel=(7, 7), strides=(2, 2), image=(15, 14), filters=16),
    "2x4 even": Convolution(kernel=(2, 4)),
    "1x7": Convolution(kernel=(1, 7), image=(5, 9)),
    "7x1": Convolution(kernel=(7, 1), image=(9, 5)),
    "height and width differ": Convolution(kernel=(3, 2), strides=(2, 3), dilations=(1, 2), image=(8, 11)),
    "one pixel": Convolution(image=(1, 1), kernel=(1, 1), channels=8, filters=8),
    "one pixel, 3x3": Convolution(image=(1, 1), channels=5, filters=6),
    "one channel": Convolution(channels=1, filters=1, image=(5, 5)),
    "one row": Convolution(image=(1, 40), kernel=(1, 3), channels=2),
    "one column": Convolution(image=(40, 1), kernel=(3, 1), channels=2),
    "17 channels, 33 filters": Convolution(channels=17, filters=33),
    "33 channels, 17 filters": Convolution(channels=33, filters=17, kernel=(1, 1)),
    "65 channels, 2 filters": Convolution(channels=65, filters=2),
    "2 channels, 65 filters": Convolution(channels=2, filters=65),
    "filter larger than the image": Convolution(kernel=(5, 6), image=(3, 4)),
    "stride larger than filter": Convolution(kernel=(2, 2), strides=(3, 4), image=(9, 10)),
    "stride larger than image": Convolution(kernel=(2, 2), strides=(20, 30)),
    "dilation steps over the image": Convolution(kernel=(3, 3), dilations=(7, 8), image=(4, 5)),
    "2 groups": Convolution(channels=6, filters=4, groups=2),
    "3 groups, stride 2": Convolution(channels=15, filters=21, groups=3, strides=(2, 2)),
    "17 groups": Convolution(channels=34, filters=51, groups=17),
    "4 wide groups, dilation 2": Convolution(channels=64, filters=64, groups=4, dilations=(2, 2)),
    "depthwise": Convolution(channels=19, filters=19, groups=19),
    "depthwise, multiplier 3": Convolution(channels=8, filters=24, groups=8),
    "depthwise, stride 2": Convolution(channels=33, filters=33, groups=33, strides=(2, 2)),
    "batch 5": Convolution(batch=5, image=(4, 4)),
}

# Large enough for the algorithms that small problems are not worth, with sizes that no tile divides.
LARGE = {
    "3x3": Convolution(batch=2, image=(28, 28), channels=64, filters=64, padding="SAME"),
    "3x3 deep": Convolution(batch=3, image=(13, 15), channels=129, filters=130, padding="SAME"),
    "3x3 VALID": Convolution(batch=2, image=(27, 30), channels=64, filters=96),
    "3x3 dilation 2": Convolution(image=(29, 26), channels=64, filters=64, dilations=(2, 2), padding="SAME"),
    "3x3 explicit": Convolution(image=(19, 33), channels=64, filters=64, padding="EXPLICIT", pads=((3, 0), (2, 5))),
    "3x3 stride 2": Convolution(image=(29, 28), channels=64, filters=64, strides=(2, 2), padding="SAME"),
    "1x1": Convolution(image=(28, 28), channels=128, filters=64, kernel=(1, 1)),
    "1x1 stride 2": Convolution(image=(28, 28), channels=96, filters=65, kernel=(1, 1), strides=(2, 2)),
    "5x5": Convolution(image=(17, 17), channels=48, filters=40, kernel=(5, 5), padding="SAME"),
    "first layer": Convolution(image=(63, 65), kernel=(7, 7), filters=64, strides=(2, 2), padding="SAME"),
    "depthwise": Convolution(image=(28, 28), channels=96, filters=96, groups=96, padding="SAME"),
    "depthwise, one column": Convolution(
        batch=8, image=(3136, 1), channels=16, kernel=(3, 1), filters=16, groups=16, padding="SAME"
    ),
    "32 groups": Convolution(image=(14, 14), channels=128, filters=128, groups=32, padding="SAME"),
}

# Each adds very many products to few sums.
LONG_SUMS = {
    "tiny images": Convolution(batch=100_000, image=(3, 3), channels=1, filters=1),
    "tiny images, depthwise": Convolution(batch=100_000, image=(3, 3), channels=2, filters=2, groups=2),
    "tiny images, thin groups": Convolution(batch=100_000, image=(3, 3), channels=4, filters=2, groups=2),
    "one row, thin groups": Convolution(batch=1, image=(1, 32768), channels=4, kernel=(1, 1), filters=4, groups=2),
}


@functools.lru_cache(maxsize=4)
def operands(conv: Convolution, dtype: str, kind: str = "normal") -> tuple[np.ndarray, np.ndarray]:
    return conv.data(dtype, kind=kind)


def compute(conv: Convolution, x: np.ndarray, dy: np.ndarray, **attributes) -> np.ndarray:
    # The filter's values must not matter.
    filter = tf.fill(conv.filter_shape, tf.constant(np.nan, x.dtype))
    return plugin.conv2d_backprop_filter_v2(x, filter, dy, **(conv.attributes | attributes)).numpy()


def planned(conv: Convolution, dtype: str, algorithm: str) -> bool:
    """Whether the planner would let `algorithm` do `conv`."""
    try:
        plugin.plan(conv.input_shape, conv.filter_shape, dtype=dtype, algorithm=algorithm, **conv.attributes)
    except ValueError:
        return False
    return True


def may_decline(conv: Convolution, dtype: str, algorithm: str, device: str) -> bool:
    """`plan` speaks for the CPU. A GPU has no `winograd`, and `depthwise` for some problems alone."""
    if device.startswith("/GPU"):
        return algorithm in ("winograd", "depthwise")
    return not planned(conv, dtype, algorithm)


def attempt(
    conv: Convolution, x: np.ndarray, dy: np.ndarray, dtype: str, algorithm: str, device: str
) -> np.ndarray | None:
    """The result by `algorithm`, or None where it declines as it may, with an error that names it."""
    plugin.set_algorithm(algorithm)
    if not may_decline(conv, dtype, algorithm, device):
        return compute(conv, x, dy)
    assert algorithm not in ("auto", "reference")
    try:
        dw = compute(conv, x, dy)
    except tf.errors.InvalidArgumentError as error:
        if algorithm not in str(error):
            raise
        return None
    assert device.startswith("/GPU"), "on a CPU it declines where the planner says so"
    return dw


def check(conv: Convolution, dtype: str, algorithm: str, device: str, kind: str = "normal") -> None:
    """Forces `algorithm`. It computes what it should, or refuses because the planner says that it cannot."""
    x, dy = operands(conv, dtype, kind)
    plugin.reset_run_counts()
    dw = attempt(conv, x, dy, dtype, algorithm, device)
    if dw is None:
        return
    if not device.startswith("/GPU"):
        ran = [name for name, count in plugin.run_counts().items() if count > 0]
        assert len(ran) == 1
        assert algorithm in ("auto", *ran)
    assert_within_contract(conv, x, dy, dw, dtype)


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("data_format", "padding"), list(itertools.product(("NHWC", "NCHW"), ("SAME", "VALID", "EXPLICIT")))
)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_geometry(name, padding, data_format, dtype, device):
    pads = PADS if padding == "EXPLICIT" else ((0, 0), (0, 0))
    conv = dataclasses.replace(GEOMETRIES[name], padding=padding, pads=pads, data_format=data_format)
    if not conv.fits:  # the filter is larger than the padded image; test_empty.py has what follows from that
        conv = dataclasses.replace(conv, padding="EXPLICIT", pads=((20, 21), (22, 20)))
    for algorithm in ALGORITHMS:
        check(conv, dtype, algorithm, device)


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", LARGE)
def test_large(name, data_format, dtype, device):
    conv = dataclasses.replace(LARGE[name], data_format=data_format)
    for algorithm in BUT_REFERENCE:  # which computes as it does above, only slower
        check(conv, dtype, algorithm, device)


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["relu", "range"])
@pytest.mark.parametrize("name", ["3x3", "3x3 deep", "1x1", "depthwise"])
def test_data_that_is_not_normal(name, kind, dtype, device):
    for algorithm in BUT_REFERENCE:
        check(LARGE[name], dtype, algorithm, device, kind)


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize(("strides", "zeros", "large"), [((1, 1), 14, 13), ((2, 2), 11, 5)])
def test_large_gradients_that_meet_zeros_alone(strides, zeros, large, data_format, dtype):
    """The last of the large ones are in one tile with others."""
    conv = Convolution(4, (28, 28), 64, filters=64, strides=strides, padding="SAME", data_format=data_format)
    x, dy = (a.copy() for a in operands(conv, dtype))
    width = 2 if data_format == "NHWC" else 3
    np.moveaxis(x, width, 0)[:zeros] = 0
    np.moveaxis(dy, width, 0)[:large] *= 1000
    for algorithm in ("auto", "direct", "winograd"):
        plugin.set_algorithm(algorithm)
        assert_within_contract(conv, x, dy, compute(conv, x, dy), dtype)


@pytest.mark.parametrize("scale", [1e-11, 1e-13])
def test_large_gradients_that_meet_zeros_alone_where_squares_underflow(scale):
    conv = Convolution(4, (28, 28), 64, filters=64, padding="SAME")
    x, dy = (a * np.float32(scale) for a in operands(conv, "float32"))
    x[:, :, :14] = 0
    dy[:, :, :13] *= 1000
    assert_within_contract(conv, x, dy, compute(conv, x, dy), "float32")


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 32])
def test_large_gradients_that_meet_the_padding_alone(groups, dtype):
    pads = ((3, 3), (3, 3))
    conv = Convolution(4, (14, 14), 64, filters=64, groups=groups, padding="EXPLICIT", pads=pads)
    x, dy = (a.copy() for a in operands(conv, dtype))
    inner = dy[:, 1:-1, 1:-1].copy()
    dy *= 1000
    dy[:, 1:-1, 1:-1] = inner
    for algorithm in ("auto", "direct", "winograd"):
        plugin.set_algorithm(algorithm)
        assert_within_contract(conv, x, dy, compute(conv, x, dy), dtype)


@pytest.mark.parametrize("name", LONG_SUMS)
def test_sums_that_do_not_cancel(name, device):
    check(LONG_SUMS[name], "float32", "auto", device, "relu")


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize(
    ("algorithm", "conv"),
    [
        ("direct", LARGE["3x3"]),
        ("winograd", LARGE["3x3"]),
        ("winograd", LARGE["3x3 dilation 2"]),
        ("depthwise", LARGE["depthwise"]),
        ("reference", GEOMETRIES["3x3"]),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_algorithm_can_do_what_it_is_for(algorithm, conv, dtype):
    assert planned(conv, dtype, algorithm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.usefixtures("device")
def test_without_cudnn(name, data_format, dtype):
    conv = dataclasses.replace(GEOMETRIES[name], padding="EXPLICIT", pads=((20, 21), (22, 20)), data_format=data_format)
    x, dy = operands(conv, dtype)
    dw = compute(conv, x, dy, use_cudnn_on_gpu=False)
    assert_within_contract(conv, x, dy, dw, dtype)
