"""Results small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import DTYPES

pytestmark = pytest.mark.usefixtures("device")


def gradient(x, filter_shape, dy, strides=(1, 1), dilations=(1, 1), dtype="float32", **attributes):
    channels_last = attributes.get("data_format", "NHWC") == "NHWC"
    return plugin.conv2d_backprop_filter_v2(
        tf.constant(x, dtype),
        tf.zeros(filter_shape, dtype),
        tf.constant(dy, dtype),
        strides=[1, *strides, 1] if channels_last else [1, 1, *strides],
        dilations=[1, *dilations, 1] if channels_last else [1, 1, *dilations],
        **attributes,
    ).numpy()


def image(rows):
    """One image of one channel, in NHWC."""
    return np.array(rows, np.float32)[np.newaxis, :, :, np.newaxis]


COUNTING = image([[1, 2, 3], [4, 5, 6], [7, 8, 9]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_ones(dtype):
    dw = gradient(np.ones([1, 2, 3, 1]), [2, 2, 1, 1], np.ones([1, 1, 2, 1]), padding="VALID", dtype=dtype)
    assert dw[..., 0, 0].tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_tap_sees_its_own_pixels(dtype):
    dw = gradient(COUNTING, [2, 2, 1, 1], image([[1, 10], [100, 1000]]), padding="VALID", dtype=dtype)
    if dtype == "bfloat16":  # 5421 = 5408 + 13 and so on: 8 significant bits, multiples of 32 here
        assert dw[..., 0, 0].tolist() == [[5408, 6528], [8768, 9856]]
    elif dtype == "float16":  # multiples of 4 from 4096, of 8 from 8192
        assert dw[..., 0, 0].tolist() == [[5420, 6532], [8752, 9864]]
    else:
        assert dw[..., 0, 0].tolist() == [[5421, 6532], [8754, 9865]]


def test_filter_is_not_flipped():
    dw = gradient(image([[0, 0, 7]]), [1, 3, 1, 1], image([[1]]), padding="VALID")
    assert dw.ravel().tolist() == [0, 0, 7]


def test_stride():
    dw = gradient(COUNTING, [1, 1, 1, 1], image([[1, 10], [100, 1000]]), strides=(2, 2), padding="VALID")
    assert dw.item() == 1 * 1 + 3 * 10 + 7 * 100 + 9 * 1000


def test_stride_of_height_alone():
    dw = gradient(COUNTING, [1, 1, 1, 1], image([[1, 2, 3], [10, 20, 30]]), strides=(2, 1), padding="VALID")
    assert dw.item() == (1 + 4 + 9) + 10 * (7 + 16 + 27)


def test_dilation():
    dw = gradient(COUNTING, [2, 2, 1, 1], image([[2]]), dilations=(2, 2), padding="VALID")
    assert dw[..., 0, 0].tolist() == [[2, 6], [14, 18]]


def test_same_pads_the_end_first():
    # SAME with an even filter: no zero before the image, one after it.
    dw = gradient(image([[1, 2, 3]]), [1, 2, 1, 1], image([[1, 10, 100]]), padding="SAME")
    assert dw.ravel().tolist() == [321, 32]


def test_explicit_padding_differs_on_each_side():
    # A row of zeros above, columns 0 0 | 1 2 3 | 0.
    dw = gradient(
        image([[1, 2, 3]]),
        [2, 3, 1, 1],
        image([[1, 10, 100, 1000]]),
        padding="EXPLICIT",
        explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0],
    )
    assert dw[..., 0, 0].tolist() == [[0, 0, 0], [2100, 3210, 321]]


def test_channels_and_filters():
    x = np.array([2, 3]).reshape(1, 1, 1, 2)
    dy = np.array([1, 10, 100]).reshape(1, 1, 1, 3)
    dw = gradient(x, [1, 1, 2, 3], dy, padding="VALID")
    assert dw[0, 0].tolist() == [[2, 20, 200], [3, 30, 300]]


def test_groups():
    # Two groups: channels 0 and 1 meet filters 0 and 1, channels 2 and 3 meet filters 2 and 3.
    x = np.array([1, 2, 3, 4]).reshape(1, 1, 1, 4)
    dy = np.array([1, 10, 100, 1000]).reshape(1, 1, 1, 4)
    dw = gradient(x, [1, 1, 2, 4], dy, padding="VALID")
    assert dw[0, 0].tolist() == [[1, 10, 300, 3000], [2, 20, 400, 4000]]


def test_batch_is_summed():
    x = np.array([1, 2, 3]).reshape(3, 1, 1, 1)
    dy = np.array([1, 10, 100]).reshape(3, 1, 1, 1)
    assert gradient(x, [1, 1, 1, 1], dy, padding="SAME").item() == 321


def test_nchw_transposes_the_operands_and_not_the_result():
    x = np.arange(1, 9).reshape(1, 2, 2, 2)  # channel 0 is 1 2 / 3 4, channel 1 is 5 6 / 7 8
    dy = np.array([1, 10]).reshape(1, 1, 1, 2)
    dw = gradient(x, [2, 1, 2, 1], dy, padding="VALID", data_format="NCHW")
    assert dw[..., 0].tolist() == [[[21, 65]], [[43, 87]]]


@pytest.mark.parametrize(
    ("dtype", "x", "dy", "rounded"),
    [
        # 2048 + 1 + 1: a sum kept in half would lose both ones.
        ("float16", [2048, 1, 1], [1, 1, 1], 2050),
        ("bfloat16", [256, 1, 1], [1, 1, 1], 258),
        # Halfway cases go to the even neighbour.
        ("float16", [2048, 1], [1, 1], 2048),
        ("float16", [2048, 3], [1, 1], 2052),
        ("bfloat16", [256, 1], [1, 1], 256),
        ("bfloat16", [256, 3], [1, 1], 260),
        # The largest half, what still rounds to it, and what rounds to infinity.
        ("float16", [65504, 15], [1, 1], 65504),
        ("float16", [65504, 16], [1, 1], np.inf),
        ("float16", [-65504, -16], [1, 1], -np.inf),
        # The partial sum 2 * 65504 is no half; the whole is.
        ("float16", [65504, 65504, -65504], [1, 1, 1], 65504),
        # The smallest subnormal half, and half of it.
        ("float16", [2.0**-24], [1], 2.0**-24),
        ("float16", [2.0**-24], [0.5], 0),
        ("float16", [2.0**-24, 2.0**-24], [0.5, 0.25], 2.0**-24),
        # 2^24 + 1 needs a float64.
        ("float32", [2.0**24, 1], [1, 1], 2.0**24),
        ("float64", [2.0**24, 1], [1, 1], 2.0**24 + 1),
    ],
)
def test_accumulates_wide_and_rounds_once(dtype, x, dy, rounded):
    x, dy = (np.array(a, np.float64).reshape(-1, 1, 1, 1) for a in (x, dy))
    assert gradient(x, [1, 1, 1, 1], dy, padding="VALID", dtype=dtype).item() == rounded
