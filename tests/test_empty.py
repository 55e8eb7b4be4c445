"""Tensors without elements, and filters that meet no pixel."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import DTYPES

pytestmark = pytest.mark.usefixtures("device")


def gradient(input_shape, filter_shape, out_backprop_shape, dtype="float32", **attributes):
    return plugin.conv2d_backprop_filter_v2(
        tf.ones(input_shape, dtype),
        tf.fill(filter_shape, tf.constant(np.nan, dtype)),
        tf.ones(out_backprop_shape, dtype),
        **({"strides": [1, 1, 1, 1], "padding": "VALID"} | attributes),
    ).numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("input_shape", "filter_shape", "out_backprop_shape", "attributes"),
    [
        pytest.param([0, 3, 3, 2], [2, 2, 2, 4], [0, 2, 2, 4], {}, id="batch"),
        pytest.param([0, 2, 3, 3], [2, 2, 2, 4], [0, 4, 2, 2], {"data_format": "NCHW"}, id="batch, NCHW"),
        pytest.param([1, 3, 3, 0], [2, 2, 2, 4], [1, 2, 2, 4], {}, id="input channels"),
        pytest.param([1, 0, 3, 2], [2, 2, 2, 4], [1, 0, 3, 4], {"padding": "SAME"}, id="input height"),
        pytest.param(
            [1, 3, 0, 2], [2, 2, 2, 4], [1, 3, 0, 4], {"padding": "SAME", "strides": [1, 1, 2, 1]}, id="width, stride"
        ),
        pytest.param(
            [1, 0, 3, 2],
            [2, 2, 2, 4],
            [1, 1, 3, 4],
            {"padding": "EXPLICIT", "explicit_paddings": [0, 0, 1, 1, 0, 1, 0, 0]},
            id="all of the output sees padding",
        ),
        # Conv2D gives an empty output, and not an error, for a filter that overhangs by less than two strides.
        pytest.param([1, 1, 1, 1], [2, 2, 1, 1], [1, 0, 0, 1], {}, id="filter larger by one"),
        pytest.param([1, 1, 1, 1], [4, 4, 1, 1], [1, 0, 0, 1], {"strides": [1, 4, 4, 1]}, id="by one stride"),
        pytest.param([1, 1, 1, 1], [4, 4, 1, 1], [1, 0, 0, 1], {"strides": [1, 2, 2, 1]}, id="by less than two"),
        pytest.param([1, 3, 3, 1], [2, 2, 1, 1], [1, 0, 0, 1], {"dilations": [1, 3, 3, 1]}, id="by dilation"),
    ],
)
def test_nothing_to_sum_gives_zeros(input_shape, filter_shape, out_backprop_shape, attributes, dtype):
    # Leaves memory of the result's size that is not zero to a kernel that forgets to write.
    tf.fill(filter_shape, tf.constant(7, dtype)).numpy()
    dw = gradient(input_shape, filter_shape, out_backprop_shape, dtype, **attributes)
    assert dw.shape == tuple(filter_shape)
    assert not dw.any()


def test_the_same_outputs_as_conv2d():
    """Whatever Conv2D computes forward has a gradient, also for sizes at the edge of what fits."""
    for image in range(4):
        for kernel in range(1, 9):
            for stride in range(1, 5):
                try:
                    # oneDNN's kernel, of which there is none in float64, gives outputs of no rows the shape of the input.
                    x, w = (tf.ones(shape, tf.float64) for shape in ([1, image, 3, 1], [kernel, 1, 1, 1]))
                    y = tf.nn.conv2d(x, w, [stride, 1], "VALID")
                except tf.errors.InvalidArgumentError:
                    y = None
                strides = [1, stride, 1, 1]
                if y is not None:
                    dw = gradient([1, image, 3, 1], [kernel, 1, 1, 1], y.shape, strides=strides)
                    assert dw.ravel().tolist() == [3.0 * y.shape[1]] * kernel
                else:
                    with pytest.raises(tf.errors.InvalidArgumentError, match=f"filter height must fit.*got {kernel},"):
                        gradient([1, image, 3, 1], [kernel, 1, 1, 1], [1, 0, 3, 1], strides=strides)


def test_no_filters_give_an_empty_result():
    assert gradient([1, 3, 3, 2], [2, 2, 2, 0], [1, 2, 2, 0]).shape == (2, 2, 2, 0)


def test_taps_that_see_only_padding_give_zeros():
    # The nine taps are 5 apart on a 3 x 3 image: all but the middle one fall outside of it.
    dw = gradient([1, 3, 3, 1], [3, 3, 1, 1], [1, 3, 3, 1], padding="SAME", dilations=[1, 5, 5, 1])
    assert dw[..., 0, 0].tolist() == [[0, 0, 0], [0, 9, 0], [0, 0, 0]]


def test_largest_strides_and_dilations():
    largest = 2**31 - 1
    attributes = {"strides": [1, largest, largest, 1], "dilations": [1, largest, largest, 1], "padding": "SAME"}
    dw = gradient([1, 3, 3, 1], [3, 3, 1, 1], [1, 1, 1, 1], **attributes)
    assert dw.sum() in (0, 1)
    assert gradient([1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1], **attributes).item() == 1
