"""Infinities and NaNs come out where the definition puts them, with every algorithm."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from reference import DTYPES, MAX_RELATIVE_ERROR, UNIT_ROUNDOFF, Convolution, numpy_dtype
from tensorflow_conv_backprop.algorithm import ALGORITHMS
from test_contract import attempt

CONVOLUTIONS = {
    "3x3": Convolution(image=(28, 28), channels=64, filters=64, padding="SAME"),
    "small": Convolution(image=(5, 6), channels=3, filters=5, padding="SAME", strides=(2, 1)),
    "strided": Convolution(
        batch=3, image=(15, 16), channels=16, filters=32, kernel=(5, 5), padding="SAME", strides=(2, 2)
    ),
    "pointwise": Convolution(batch=3, image=(13, 15), channels=64, filters=48, kernel=(1, 1)),
    "dilated": Convolution(image=(16, 17), channels=64, filters=64, padding="SAME", dilations=(2, 2)),
    "depthwise": Convolution(image=(9, 9), channels=40, filters=40, groups=40, padding="SAME"),
}


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_only_the_values_that_meet_them(name, data_format, algorithm, dtype, device):
    conv = dataclasses.replace(CONVOLUTIONS[name], data_format=data_format)
    x, dy = conv.data(dtype)
    # Corners and edges, where taps in the padding must not turn them into 0 * inf.
    x[0, 0, 0, 0], x[1, 1, -1, -1], x[-1, -1, -1, 2] = np.inf, -np.inf, np.nan
    dy[0, 0, 0, 1], dy[-1, -1, -1, -1] = np.inf, np.nan
    with np.errstate(invalid="ignore"):
        expected = conv.filter_gradient(x, dy)
    assert 0 < np.isnan(expected).sum() < expected.size
    assert np.isinf(expected).any()

    dw = attempt(conv, x, dy, dtype, algorithm, device)
    if dw is None:
        return
    dw = dw.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(dw), np.isnan(expected))
    np.testing.assert_array_equal(np.where(np.isinf(dw), dw, 0), np.where(np.isinf(expected), expected, 0))
    finite = np.isfinite(expected)
    scale = np.linalg.norm(expected[finite])
    tolerance = MAX_RELATIVE_ERROR.get(dtype) or MAX_RELATIVE_ERROR["float32"] + UNIT_ROUNDOFF[dtype]
    assert np.linalg.norm(dw[finite] - expected[finite]) <= tolerance * scale


@pytest.mark.usefixtures("auto_afterwards")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_large_finite_values_stay_finite(algorithm, dtype, device):
    """No intermediate result of a fast algorithm may overflow where the definition does not."""
    conv = CONVOLUTIONS["3x3"]
    x, dy = np.zeros(conv.input_shape, numpy_dtype(dtype)), np.zeros(conv.output_shape, numpy_dtype(dtype))
    largest = {"float16": 65504.0, "float64": 2.0**1023}.get(dtype, 2.0**127)
    x[0, 3:9, 3:9, :], dy[0, 5, 5, :] = largest, 1.0
    dw = attempt(conv, x, dy, dtype, algorithm, device)
    if dw is None:
        return
    assert np.isfinite(dw).all()
    assert (dw == largest).all()
