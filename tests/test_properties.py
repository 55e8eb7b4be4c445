"""Random configurations."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from hypothesis import given
from hypothesis import strategies as st
from reference import DTYPES, Convolution, assert_within_contract

pytestmark = pytest.mark.usefixtures("device")


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8]))
    padding = draw(st.sampled_from(["SAME", "VALID", "EXPLICIT"]))
    kernel, dilations, pads = pair(1, 5), pair(1, 3), (pair(0, 4), pair(0, 4))
    # VALID needs an image that the filter fits into; EXPLICIT has its padding on top.
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    least = (1, 1) if padding == "SAME" else spans
    return Convolution(
        batch=draw(st.integers(1, 4)),
        image=(draw(st.integers(least[0], least[0] + 20)), draw(st.integers(least[1], least[1] + 20))),
        channels=groups * draw(st.sampled_from([1, 2, 3, 4, 8, 15, 16, 17, 40])),
        kernel=kernel,
        filters=groups * draw(st.sampled_from([1, 2, 3, 4, 8, 15, 16, 17, 40])),
        groups=groups,
        strides=pair(1, 4),
        dilations=dilations,
        padding=padding,
        pads=pads if padding == "EXPLICIT" else ((0, 0), (0, 0)),
        data_format=draw(st.sampled_from(["NHWC", "NCHW"])),
    )


def compute(conv: Convolution, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    filter = tf.fill(conv.filter_shape, tf.constant(np.nan, x.dtype))
    return plugin.conv2d_backprop_filter_v2(x, filter, dy, **conv.attributes).numpy()


@given(conv=convolutions(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32 - 1))
def test_agrees_with_the_reference(conv, dtype, seed):
    x, dy = conv.data(dtype, seed)
    assert_within_contract(conv, x, dy, compute(conv, x, dy), dtype)


@given(conv=convolutions(), seed=st.integers(0, 2**32 - 1))
def test_is_the_adjoint_of_conv2d(conv, seed):
    """<conv2d(x, w), dy> = <w, dW(x, dy)> for every w, with TensorFlow's own convolution (which on CPU is NHWC)."""
    conv = Convolution(**{**vars(conv), "data_format": "NHWC"})
    x, dy = conv.data("float64", seed)
    w = np.random.default_rng(seed + 1).standard_normal(conv.filter_shape)
    strides, dilations = list(conv.strides), list(conv.dilations)
    padding = [[0, 0], *conv.pads, [0, 0]] if conv.padding == "EXPLICIT" else conv.padding
    y = tf.nn.conv2d(x, w, strides, padding, dilations=dilations).numpy()
    scale = np.linalg.norm(y) * np.linalg.norm(dy)
    assert abs(np.vdot(y, dy) - np.vdot(w, compute(conv, x, dy))) <= 1e-13 * scale


@given(conv=convolutions(), seed=st.integers(0, 2**32 - 1), factor=st.floats(-4, 4))
def test_is_linear_in_out_backprop(conv, seed, factor):
    x, dy = conv.data("float64", seed)
    _, other = conv.data("float64", seed + 1)
    combined = compute(conv, x, dy + factor * other)
    separate = compute(conv, x, dy) + factor * compute(conv, x, other)
    scale = np.linalg.norm(x) * (np.linalg.norm(dy) + np.linalg.norm(other))
    assert np.linalg.norm(combined - separate) <= 1e-13 * scale


@given(conv=convolutions(), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 2**32 - 1))
def test_repeats_bit_for_bit(conv, dtype, seed):
    x, dy = conv.data(dtype, seed)
    assert compute(conv, x, dy).tobytes() == compute(conv, x, dy).tobytes()
