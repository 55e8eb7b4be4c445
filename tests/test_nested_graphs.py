"""Gradients of gradients where they are built in another graph than what they are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin


def integers(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).integers(-2, 3, shape), tf.float64)


X = integers(2, 5, 6, 4)
DY = integers(2, 5, 6, 4, seed=2)
DILATED = {"strides": [1, 1, 1, 1], "padding": "SAME", "dilations": [1, 2, 2, 1]}

# Each a function of x and w, and the shape of w.
COMPUTATIONS: dict[str, tuple[Callable[[tf.Tensor, tf.Tensor], tf.Tensor], tuple[int, ...]]] = {
    "tf.nn.conv2d": (lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), (3, 3, 4, 4)),
    "tf.nn.conv2d, dilated": (lambda x, w: tf.nn.conv2d(x, w, 1, "SAME", dilations=2), (3, 3, 4, 4)),
    "conv2d, groups": (lambda x, w: plugin.conv2d(x, w, 1, "SAME"), (3, 3, 2, 4)),
    "the op": (lambda x, w: plugin.conv2d_backprop_filter_v2(x, w, DY * tf.reduce_sum(w), **DILATED), (3, 3, 4, 4)),
}


def in_cond(f: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    return lambda x, w: tf.cond(tf.reduce_sum(x) < 1e9, lambda: f(x, w), lambda: f(x, w) * 2)


def in_while(f: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    def loop(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        body = lambda i, total: (i + 1, total + f(x, w))
        return tf.while_loop(lambda i, _: i < 2, body, (0, tf.zeros_like(f(x, w))), maximum_iterations=2)[1] / 2

    return loop


NESTINGS: dict[str, Callable[[Callable[..., tf.Tensor]], Callable[..., tf.Tensor]]] = {
    "tf.function": tf.function,
    "jit_compile": lambda f: tf.function(f, jit_compile=True),
    "tf.cond": in_cond,
    "tf.while_loop": in_while,
}


def second_order(f: Callable[..., tf.Tensor], x: tf.Tensor, w: tf.Tensor) -> list[tf.Tensor]:
    with tf.GradientTape() as outer:
        outer.watch([x, w])
        with tf.GradientTape() as inner:
            inner.watch([x, w])
            loss = tf.reduce_sum(f(x, w) ** 2)
        squared = tf.add_n([tf.reduce_sum(g**2) for g in inner.gradient(loss, [x, w]) if g is not None])
    return outer.gradient(squared, [x, w])


@pytest.mark.parametrize("nesting", NESTINGS)
@pytest.mark.parametrize("name", COMPUTATIONS)
def test_second_order(name: str, nesting: str) -> None:
    f, filter_shape = COMPUTATIONS[name]
    w = integers(*filter_shape, seed=1)
    with plugin.patched_tensorflow():
        expected = second_order(f, X, w)
        actual = tf.function(second_order)(NESTINGS[nesting](f), X, w)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-9)


def test_second_order_of_unknown_shapes_in_cond() -> None:
    """There the number of channels is not known either, and with it whether TensorFlow has a kernel."""
    w = integers(3, 3, 4, 4, seed=1)
    f = COMPUTATIONS["tf.nn.conv2d"][0]
    unknown = tf.function(
        lambda x: second_order(in_cond(f), x, w), input_signature=[tf.TensorSpec([None] * 4, X.dtype)]
    )
    with plugin.patched_tensorflow():
        for a, e in zip(unknown(X), second_order(f, X, w), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-9)


@pytest.mark.parametrize("control_flow_v2", [False, True])
def test_second_order_in_cond_of_a_v1_graph(control_flow_v2: bool) -> None:
    f, filter_shape = COMPUTATIONS["tf.nn.conv2d, dilated"]
    w = integers(*filter_shape, seed=1)

    def gradient_of_gradient(f: Callable[..., Any], x: tf.Tensor) -> tf.Tensor:
        return tf.gradients(tf.gradients(f(x, w) ** 2, x), x)[0]

    (tf.compat.v1.enable_control_flow_v2 if control_flow_v2 else tf.compat.v1.disable_control_flow_v2)()
    try:
        with plugin.patched_tensorflow(), tf.Graph().as_default(), tf.compat.v1.Session() as session:
            x, w = tf.constant(X.numpy()), tf.constant(w.numpy())
            expected, actual = session.run([gradient_of_gradient(f, x), gradient_of_gradient(in_cond(f), x)])
    finally:
        tf.compat.v1.enable_control_flow_v2()
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_forward_mode_over_a_function(name: str) -> None:
    f, filter_shape = COMPUTATIONS[name]
    w = integers(*filter_shape, seed=1)
    tangents = []
    with plugin.patched_tensorflow():
        for each in (f, tf.function(f)):
            with tf.autodiff.ForwardAccumulator([X, w], [X[::-1], w[::-1]]) as accumulator:
                y = each(X, w)
            tangents.append(accumulator.jvp(y))
    np.testing.assert_allclose(tangents[1], tangents[0], rtol=1e-9)


def test_gradient_penalty_of_a_grouped_keras_layer() -> None:
    """Keras runs these on CPU by a nested function of its own, compiled by XLA."""
    layer = tf.keras.layers.Conv2D(4, 3, groups=2, activation="tanh")
    x = tf.random.stateless_normal([4, 6, 6, 4], [1, 2])
    layer(x)

    def penalty() -> tf.Tensor:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = layer(x)
            loss = tf.reduce_mean(inner.gradient(y, x) ** 2)
        return outer.gradient(loss, layer.kernel)

    expected = tf.function(penalty)()
    with plugin.patched_tensorflow():
        actual = tf.function(penalty)()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["tf.nn.conv2d, dilated", "conv2d, groups"])
@pytest.mark.parametrize("traced", [False, True])
def test_indexed_slices_for_the_output(name: str, traced: bool) -> None:
    """What comes back from `tf.gather`."""
    f, filter_shape = COMPUTATIONS[name]
    w = integers(*filter_shape, seed=1)

    def gradients(take: Callable[[tf.Tensor], tf.Tensor]) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([X, w])
            y = take(f(X, w))
        return tape.gradient(y, [X, w])

    with plugin.patched_tensorflow():
        gathered = lambda: gradients(lambda y: tf.gather(y, [1]))
        actual = (tf.function(gathered) if traced else gathered)()
        expected = gradients(lambda y: y[1:])
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)
