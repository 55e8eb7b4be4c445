"""The registered gradient of the op: values, orders, modes, and the configurations that stock kernels reject."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from programs import run_program
from reference import DTYPES, Convolution
from tensorflow.python.util import _pywrap_util_port

pytestmark = pytest.mark.usefixtures("device")

SMALL = Convolution(batch=2, image=(5, 4), channels=4, kernel=(3, 2), filters=6)
GEOMETRIES = {
    "plain": SMALL,
    "1x1 stride 2": dataclasses.replace(SMALL, kernel=(1, 1), strides=(2, 2)),
    "SAME stride 2": dataclasses.replace(SMALL, strides=(2, 2), padding="SAME"),
    "SAME stride over the filter": dataclasses.replace(SMALL, strides=(4, 3), padding="SAME"),
    "stride leaves rows unused": dataclasses.replace(SMALL, image=(6, 6), strides=(2, 3)),
    "stride beyond the image": dataclasses.replace(SMALL, groups=2, strides=(2**30, 2**30)),
    "dilated": dataclasses.replace(SMALL, image=(7, 5), dilations=(2, 3)),
    "dilated beyond the image": dataclasses.replace(SMALL, groups=2, dilations=(2**30, 4), padding="SAME"),
    "dilated into the padding": dataclasses.replace(
        SMALL, groups=2, dilations=(4, 9), strides=(3, 2), padding="EXPLICIT", pads=((11, 2), (3, 8))
    ),
    "groups": dataclasses.replace(SMALL, groups=2),
    "depthwise": dataclasses.replace(SMALL, groups=4, filters=8, padding="SAME"),
    "EXPLICIT": dataclasses.replace(SMALL, padding="EXPLICIT", pads=((0, 2), (1, 0))),
    "EXPLICIT wider than the filter": dataclasses.replace(
        SMALL, padding="EXPLICIT", pads=((4, 0), (3, 5)), groups=2, strides=(2, 1)
    ),
    "all at once": dataclasses.replace(
        SMALL, padding="EXPLICIT", pads=((1, 2), (0, 3)), groups=2, strides=(2, 3), dilations=(2, 1)
    ),
}
DATA_FORMATS = ("NHWC", "NCHW")


def integers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Small integers: every sum of the problems above is exact in every type but bfloat16, in any order."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


@functools.cache
def expected_gradients(conv: Convolution) -> tuple[np.ndarray, np.ndarray]:
    """Gradients for input and out_backprop of sum(dw * g), from the definition of dw, one unit vector at a time."""
    x, dy, g = integers(conv.input_shape, 0), integers(conv.output_shape, 1), integers(conv.filter_shape, 2)

    def units(shape: tuple[int, ...]) -> np.ndarray:
        return np.eye(int(np.prod(shape))).reshape(-1, *shape)

    dx = [np.vdot(conv.filter_gradient(unit, dy), g) for unit in units(x.shape)]
    ddy = [np.vdot(conv.filter_gradient(x, unit), g) for unit in units(dy.shape)]
    return np.reshape(dx, x.shape), np.reshape(ddy, dy.shape)


def in_format(array: np.ndarray, data_format: str) -> np.ndarray:
    return np.moveaxis(array, 3, 1) if data_format == "NCHW" else array


def filter_gradient(conv: Convolution, x: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
    return plugin.conv2d_backprop_filter_v2(x, tf.zeros(conv.filter_shape, x.dtype), dy, **conv.attributes)


def gradients(conv: Convolution, x: tf.Tensor, dy: tf.Tensor, g: tf.Tensor) -> list[Any]:
    with tf.GradientTape() as tape:
        tape.watch([x, dy])
        dw = filter_gradient(conv, x, dy)
    return tape.gradient(dw, [x, dy], output_gradients=g)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_values(geometry: str, data_format: str, dtype: str) -> None:
    conv = GEOMETRIES[geometry]
    expected = [in_format(a, data_format) for a in expected_gradients(conv)]
    x = in_format(integers(conv.input_shape, 0), data_format)
    dy = in_format(integers(conv.output_shape, 1), data_format)
    g = integers(conv.filter_shape, 2)
    actual = gradients(dataclasses.replace(conv, data_format=data_format), *(tf.constant(a, dtype) for a in (x, dy, g)))
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == dtype
        # bfloat16 has 8 significant bits: two roundings at most, where stock kernels round partial sums too.
        np.testing.assert_allclose(a.numpy().astype(np.float64), e, rtol=2**-7 if dtype == "bfloat16" else 0)


def passed_with_the_other_cpu_kernels(expression: str) -> int:
    """How many of these tests pass with those of Eigen and oneDNN that TensorFlow did not choose.

    It chooses by processor and environment; they support different things.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        [*command, "-k", f"({expression}) and CPU and not other_cpu_kernels"],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0" if _pywrap_util_port.IsMklEnabled() else "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (passed,) = re.findall(r"(\d+) passed", run.stdout)
    return int(passed)


def test_values_with_the_other_cpu_kernels(device: str) -> None:
    if device != "/CPU:0":
        pytest.skip("about the CPU's kernels")
    assert passed_with_the_other_cpu_kernels("test_values and float32") == len(GEOMETRIES) * len(DATA_FORMATS)


def test_nothing_to_sum_with_the_other_cpu_kernels(device: str) -> None:
    if device != "/CPU:0":
        pytest.skip("about the CPU's kernels")
    assert passed_with_the_other_cpu_kernels("empty or no_filters or no_pixels or no_rows") >= 32


TINY = Convolution(batch=1, image=(4, 3), channels=2, kernel=(2, 2), filters=2)
TINY_GEOMETRIES = {
    "plain": TINY,
    "strided": dataclasses.replace(TINY, strides=(2, 1), padding="SAME"),
    "grouped and dilated": dataclasses.replace(
        TINY, groups=2, dilations=(2, 1), padding="EXPLICIT", pads=((1, 0), (0, 2))
    ),
}


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("geometry", TINY_GEOMETRIES)
def test_numeric_to_second_order(geometry: str, data_format: str) -> None:
    conv = dataclasses.replace(TINY_GEOMETRIES[geometry], data_format=data_format)
    x, dy = (tf.constant(a) for a in conv.data("float64"))
    g = tf.constant(np.random.default_rng(3).standard_normal(conv.filter_shape))
    functions = [
        (functools.partial(filter_gradient, conv), [x, dy]),
        (lambda *args: gradients(conv, *args)[0], [x, dy, g]),
        (lambda *args: gradients(conv, *args)[1], [x, dy, g]),
    ]
    for function, arguments in functions:
        # Each is linear in every argument, so that central differences have no error but that of rounding.
        theoretical, numerical = tf.test.compute_gradient(tf.function(function), arguments, delta=0.125)
        for t, n in zip(theoretical, numerical, strict=True):
            np.testing.assert_allclose(t, n, atol=1e-12)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_third_order(dtype: str, data_format: str) -> None:
    """d/ds of sum(V2(s^2 x, s dy)^2) is a polynomial of s; so are its derivatives, which pass through every adjoint."""
    conv = dataclasses.replace(TINY_GEOMETRIES["grouped and dilated"], data_format=data_format)
    x, dy = (
        tf.constant(integers(shape, i) / 4, dtype) for i, shape in enumerate([conv.input_shape, conv.output_shape])
    )
    s = tf.constant(1.0, dtype)
    derivatives: list[tf.Tensor] = []
    with tf.GradientTape(persistent=True) as third, tf.GradientTape(persistent=True) as second:
        third.watch(s)
        second.watch(s)
        with tf.GradientTape() as first:
            first.watch(s)
            value = tf.reduce_sum(filter_gradient(conv, s * s * x, s * dy) ** 2)
        derivatives.append(first.gradient(value, s))
        derivatives.append(second.gradient(derivatives[0], s))
    derivatives.append(third.gradient(derivatives[1], s))
    square = np.sum(filter_gradient(conv, x, dy).numpy().astype(np.float64) ** 2)
    expected = square * np.array([6.0, 30.0, 120.0])  # of square * s^6
    np.testing.assert_allclose([d.numpy() for d in derivatives], expected, rtol=1e-2 if dtype == "float16" else 1e-13)


@pytest.mark.parametrize("function", ["conv2d", "conv2d_backprop_filter_v2"])
def test_no_order_uses_the_stock_filter_gradient(function: str) -> None:
    """Which has kernels for some problems alone, and is wrong for some of these. Nothing is patched here."""
    x, dy = (tf.constant(a) for a in SMALL.data("float32"))
    w = tf.ones(SMALL.filter_shape)

    @tf.function
    def second_order(x: tf.Tensor, w: tf.Tensor, dy: tf.Tensor) -> list[Any]:
        tensors = [x, w, dy]
        with tf.GradientTape() as outer:
            outer.watch(tensors)
            with tf.GradientTape() as inner:
                inner.watch(tensors)
                if function == "conv2d":
                    product = plugin.conv2d(x, w, 1, "VALID") * dy
                else:
                    product = filter_gradient(SMALL, x, dy) * w
                value = tf.reduce_sum(product)
            squares = tf.add_n([tf.reduce_sum(g**2) for g in inner.gradient(value, tensors) if g is not None])
        return outer.gradient(squares, tensors)

    counts = [op.type for op in second_order.get_concrete_function(x, w, dy).graph.get_operations()]
    assert "Conv2DBackpropFilter" not in counts
    assert counts.count("Conv2DBackpropFilterV2") > 1


def test_second_order_of_no_rows(device: str) -> None:
    """The stock filter gradient leaves dW as it finds it."""
    x, w, dy = tf.zeros([2, 0, 5, 4]), tf.ones([3, 3, 4, 2]), tf.ones([2, 0, 5, 2])
    with tf.GradientTape() as outer:
        outer.watch(w)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(plugin.conv2d(x, w, 1, "SAME") * dy)
        square = tf.reduce_sum(inner.gradient(value, x) ** 2)
    np.testing.assert_array_equal(outer.gradient(square, w), np.zeros(w.shape))


def test_second_order_where_onednn_is_wrong() -> None:
    """Its filter gradient of 1x1 filters with a stride is, for two channels, or aborts."""
    run_program(
        """
        for conv in (
            Convolution(2, (6, 8), 2, (1, 1), 3, strides=(1, 2), padding="SAME"),
            Convolution(2, (56, 56), 2, (1, 1), 3, strides=(2, 2), padding="SAME"),
        ):
            x, dy = conv.data("float32")
            v, _ = conv.data("float32", seed=1)
            w = tf.ones(conv.filter_shape)
            with tf.GradientTape() as outer:
                outer.watch(w)
                images = tf.constant(x)
                with tf.GradientTape() as inner:
                    inner.watch(images)
                    value = tf.reduce_sum(plugin.conv2d(images, w, conv.strides, "SAME") * dy)
                product = tf.reduce_sum(inner.gradient(value, images) * v)
            # The value is bilinear, so that v takes the place of x.
            assert_within_contract(conv, v, dy, outer.gradient(product, w).numpy(), "float32")
        """,
        TF_ENABLE_ONEDNN_OPTS="1",
    )


def test_none_for_filter() -> None:
    x, dy = (tf.constant(a) for a in SMALL.data("float32"))
    w = tf.zeros(SMALL.filter_shape)
    with tf.GradientTape() as tape:
        tape.watch(w)
        dw = plugin.conv2d_backprop_filter_v2(x, w, dy, **SMALL.attributes)
    assert tape.gradient(dw, w) is None


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("shape", [[None] * 4, None])
@pytest.mark.parametrize("geometry", ["plain", "all at once"])
def test_function_of_unknown_shapes(geometry: str, shape: list[None] | None, data_format: str) -> None:
    conv = dataclasses.replace(GEOMETRIES[geometry], data_format=data_format)
    arguments = [
        tf.constant(integers(of, i)) for i, of in enumerate([conv.input_shape, conv.output_shape, conv.filter_shape])
    ]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float64)] * 3)
    def traced(x: tf.Tensor, dy: tf.Tensor, g: tf.Tensor) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch([x, dy])
            dw = plugin.conv2d_backprop_filter_v2(x, g, dy, **conv.attributes)
        return tape.gradient(dw, [x, dy], output_gradients=g)

    for actual, expected in zip(traced(*arguments), gradients(conv, *arguments), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("geometry", ["plain", "all at once"])
def test_v1_graph(geometry: str, data_format: str) -> None:
    conv = dataclasses.replace(GEOMETRIES[geometry], data_format=data_format)
    shapes = [conv.input_shape, conv.output_shape, conv.filter_shape]
    arrays = [integers(shape, i) for i, shape in enumerate(shapes)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x, dy, g = (tf.compat.v1.placeholder(tf.float64, [None, *shape[1:]]) for shape in shapes)
        dw = tf.compat.v1.conv2d_backprop_filter_v2(x, g, dy, **conv.attributes)
        built = tf.gradients(dw, [x, dy], grad_ys=g)
        for gradient, value in zip(built, (x, dy), strict=True):
            assert gradient.shape.as_list() == value.shape.as_list()
        actual = session.run(built, dict(zip((x, dy, g), arrays, strict=True)))
    for a, e in zip(actual, gradients(conv, *map(tf.constant, arrays)), strict=True):
        np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("geometry", ["plain", "all at once"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_batch(dtype: str, geometry: str, data_format: str) -> None:
    conv = dataclasses.replace(GEOMETRIES[geometry], batch=0, data_format=data_format)
    shapes = [conv.input_shape, conv.output_shape, conv.filter_shape]
    dx, ddy = gradients(conv, *(tf.ones(shape, dtype) for shape in shapes))
    assert (dx.shape, ddy.shape) == (conv.input_shape, conv.output_shape)


def test_output_of_no_pixels() -> None:
    """A filter of exactly one row more than the image: no output, so no gradient but zeros."""
    conv = dataclasses.replace(SMALL, image=(2, 4), groups=2, dilations=(1, 2))
    assert conv.output_shape[1] == 0
    dx, ddy = gradients(conv, *(tf.ones(s) for s in (conv.input_shape, conv.output_shape, conv.filter_shape)))
    np.testing.assert_array_equal(dx, np.zeros(conv.input_shape))
    assert ddy.shape == conv.output_shape


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_no_filters(groups: int, traced: bool, data_format: str) -> None:
    conv = dataclasses.replace(SMALL, groups=groups, filters=0, data_format=data_format)
    x, dy, g = (tf.ones(shape) for shape in (conv.input_shape, conv.output_shape, conv.filter_shape))
    of_shapes = tf.function(functools.partial(gradients, conv)) if traced else functools.partial(gradients, conv)
    dx, ddy = of_shapes(x, dy, g)
    np.testing.assert_array_equal(dx, np.zeros(conv.input_shape))
    assert ddy.shape == conv.output_shape


@pytest.mark.parametrize("data_format", DATA_FORMATS)
@pytest.mark.parametrize("empty", ["batch", "channels", "filters"])
def test_empty_of_unknown_shapes(empty: str, data_format: str) -> None:
    conv = dataclasses.replace(SMALL, data_format=data_format, **({empty: 0} if empty != "channels" else {}))
    shapes = [list(conv.input_shape), conv.output_shape, conv.filter_shape]
    if empty == "channels":
        shapes[0][conv.data_format.index("C")] = 0
    signature = [tf.TensorSpec([None] * 4)] * 3
    dx, ddy = tf.function(functools.partial(gradients, conv), input_signature=signature)(*map(tf.ones, shapes))
    np.testing.assert_array_equal(dx, np.zeros(shapes[0]))
    np.testing.assert_array_equal(ddy.shape, conv.output_shape)


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("shape", [[None, None, None, 4], [None] * 4])
def test_empty_convolution_of_unknown_shapes(shape: list[int | None], explicit: bool) -> None:
    """Outputs of no images and of no rows have Conv2D's shape, and its static one, whatever kernels it has."""
    w = tf.ones([3, 2, 4, 6])
    padding = [[0, 0], [1, 0], [0, 1], [0, 0]] if explicit else "VALID"

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def traced(x: tf.Tensor) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = plugin.conv2d(x, w, [2, 1], padding)
            assert y.shape.as_list() == [None, None, None, 6]
        return [y, tape.gradient(y, x)]

    for sizes in ([0, 5, 5, 4], [2, 1, 5, 4] if not explicit else [2, 0, 5, 4], [2, 5, 5, 4]):
        y, dx = traced(tf.ones(sizes))
        # In float64, of which oneDNN has no kernel.
        expected = tf.nn.conv2d(tf.ones(sizes, tf.float64), tf.cast(w, tf.float64), [2, 1], padding)
        np.testing.assert_array_equal(y, expected)
        assert dx.shape == sizes


def test_empty_convolution_with_an_error() -> None:
    """Nothing to sum hides no error."""
    for x, w in (
        ([1, 4, 4, 3], [0, 3, 3, 4]),  # a filter of no rows
        ([1, 4, 4, 3], [3, 3, 2, 0]),  # channels that no groups divide
        ([1, 0, 5, 1], [3, 3, 1, 1]),  # an image too small by more than the filter may be
    ):
        with pytest.raises(tf.errors.InvalidArgumentError):
            plugin.conv2d(tf.ones(x), tf.ones(w), 1, "VALID")
    assert plugin.conv2d(tf.ones([1, 1, 1, 1]), tf.ones([4, 4, 1, 1]), 2, "VALID").shape == [1, 0, 0, 1]


@pytest.mark.parametrize("geometry", ["plain", "all at once"])
def test_forward_mode(geometry: str) -> None:
    conv = GEOMETRIES[geometry]
    x, dy = (tf.constant(integers(shape, i)) for i, shape in enumerate([conv.input_shape, conv.output_shape]))
    tx, tdy = x[::-1], dy[:, ::-1]
    with tf.autodiff.ForwardAccumulator([x, dy], [tx, tdy]) as accumulator:
        dw = filter_gradient(conv, x, dy)
    expected = filter_gradient(conv, tx, dy) + filter_gradient(conv, x, tdy)  # the op is bilinear
    np.testing.assert_array_equal(accumulator.jvp(dw), expected)
