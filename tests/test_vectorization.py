"""The op under tf.vectorized_map and jacobian: one op instead of a loop, and the same numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import Convolution

PLAIN = Convolution(batch=2, image=(5, 6), channels=6, kernel=(3, 2), filters=4)
GEOMETRIES = {
    "plain": PLAIN,
    "groups": dataclasses.replace(PLAIN, groups=2, strides=(2, 1), padding="SAME"),
    "NCHW": dataclasses.replace(PLAIN, data_format="NCHW", dilations=(2, 1)),
    "NCHW, groups": dataclasses.replace(PLAIN, groups=2, data_format="NCHW", padding="EXPLICIT", pads=((1, 0), (0, 2))),
}
ITERATIONS = 3


def integers(shape: tuple[int, ...], seed: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).integers(-3, 4, shape), tf.float32)


def ops_inside(function: Any, *arguments: tf.Tensor) -> list[str]:
    """Types of the ops of a traced function and of every function that it calls."""
    graph = tf.function(function).get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return [node.op for node in nodes]


@pytest.mark.parametrize("differs", ["x", "dy", "x dy", "w", "x w", "w dy", "x w dy"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_vectorized_map(geometry: str, differs: str) -> None:
    conv = GEOMETRIES[geometry]
    shapes = {"x": conv.input_shape, "w": conv.filter_shape, "dy": conv.output_shape}
    arguments = {
        name: integers(((ITERATIONS,) if name in differs.split() else ()) + shape, seed)
        for seed, (name, shape) in enumerate(shapes.items())
    }
    looped = tuple(arguments[name] for name in differs.split())

    def filter_gradient(values: tuple[tf.Tensor, ...]) -> tf.Tensor:
        x, w, dy = {**arguments, **dict(zip(differs.split(), values, strict=True))}.values()
        return plugin.conv2d_backprop_filter_v2(x, w, dy, **conv.attributes)

    def vectorized(*looped: tf.Tensor) -> tf.Tensor:
        return tf.vectorized_map(filter_gradient, looped, fallback_to_while_loop=False)

    expected = tf.stack([filter_gradient(tuple(value[i] for value in looped)) for i in range(ITERATIONS)])
    np.testing.assert_array_equal(vectorized(*looped), expected)
    assert "Conv2DBackpropFilterV2" in ops_inside(vectorized, *looped)
    assert not any(op.startswith("Pad") for op in ops_inside(vectorized, *looped))


@pytest.mark.parametrize("traced", ["no", "with known shapes", "with unknown shapes"])
@pytest.mark.parametrize("differs", ["x", "dy", "x dy"])
def test_no_iterations(differs: str, traced: str) -> None:
    x = tf.zeros(([0] if "x" in differs else []) + list(PLAIN.input_shape))
    dy = tf.zeros(([0] if "dy" in differs else []) + list(PLAIN.output_shape))
    filter = tf.zeros(PLAIN.filter_shape)

    def filter_gradient(looped: tuple[tf.Tensor, ...]) -> tf.Tensor:
        values = {"x": x, "dy": dy, **dict(zip(differs.split(), looped, strict=True))}
        return plugin.conv2d_backprop_filter_v2(values["x"], filter, values["dy"], **PLAIN.attributes)

    looped = tuple({"x": x, "dy": dy}[name] for name in differs.split())
    vectorized = lambda looped: tf.vectorized_map(filter_gradient, looped, fallback_to_while_loop=False)
    if traced != "no":
        shapes = [[None] * 5 if traced == "with unknown shapes" else value.shape for value in looped]
        vectorized = tf.function(vectorized, input_signature=[tuple(map(tf.TensorSpec, shapes))])
    assert vectorized(looped).shape == (0, *PLAIN.filter_shape)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_jacobian_of_a_patched_convolution(geometry: str) -> None:
    """One op for the filter gradients of all outputs."""
    conv = GEOMETRIES[geometry]
    x, w = integers(conv.input_shape, 0), integers(conv.filter_shape, 1)

    def jacobian(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tf.reduce_sum(plugin.conv2d(x, w, **arguments) ** 2, axis=[0, conv.data_format.index("H")])
        return tape.jacobian(y, w, experimental_use_pfor=True)

    attributes = conv.attributes
    pairs = np.reshape(attributes["explicit_paddings"], [-1, 2]).tolist()
    arguments = {name: attributes[name] for name in ("strides", "data_format", "dilations")}
    arguments["padding"] = pairs or attributes["padding"]

    def one_output_at_a_time() -> tf.Tensor:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(w)
            y = tf.reduce_sum(plugin.conv2d(x, w, **arguments) ** 2, axis=[0, conv.data_format.index("H")])
            outputs = tf.unstack(tf.reshape(y, [-1]))
        return tf.reshape(tf.stack([tape.gradient(output, w) for output in outputs]), [*y.shape, *w.shape])

    np.testing.assert_array_equal(jacobian(x, w), one_output_at_a_time())
    plugin.reset_run_counts()
    jacobian(x, w)
    assert sum(plugin.run_counts().values()) == 1
    assert not {"While", "StatelessWhile"} & set(ops_inside(jacobian, x, w))
