"""Training with the patch under the switches that TensorFlow and Keras have for it."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from programs import run_program
from tensorflow.tsl.profiler.protobuf import xplane_pb2
from test_xla import needs_engine

X = np.random.default_rng(0).standard_normal([16, 8, 8, 3]).astype(np.float32)
Y = (X.mean(axis=(1, 2, 3)) > 0).astype(np.float32)[:, np.newaxis]


@pytest.fixture(autouse=True)
def patched() -> Iterator[None]:
    plugin.reset_run_counts()
    with plugin.patched_tensorflow():
        yield


def trained(policy: str = "float32", epochs: int = 4) -> tuple[list[float], list[np.ndarray]]:
    """Losses of the epochs and final weights of a small model; 2 convolutions, 4 steps an epoch."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Conv2D(8, 3, activation="relu", dtype=policy),
            layers.Conv2D(8, 3, strides=2, activation="relu", dtype=policy),
            layers.Flatten(dtype=policy),
            layers.Dense(1, dtype="float32"),
        ]
    )
    optimizer = tf.keras.optimizers.SGD(0.02)
    if policy == "mixed_float16":
        optimizer = tf.keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    losses = model.fit(X, Y, batch_size=4, epochs=epochs, shuffle=False, verbose=0).history["loss"]
    return losses, model.get_weights()


def runs() -> int:
    return sum(plugin.run_counts().values())


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy: str) -> None:
    losses, weights = trained(policy)
    assert runs() == 2 * 4 * 4
    assert losses[-1] < losses[0]
    assert {w.dtype for w in weights} == {np.dtype(np.float32)}
    np.testing.assert_allclose(losses, trained("float32")[0], rtol=0.05)


def test_run_functions_eagerly() -> None:
    expected, _ = trained()
    plugin.reset_run_counts()
    tf.config.run_functions_eagerly(True)
    try:
        losses, _ = trained()
    finally:
        tf.config.run_functions_eagerly(False)
    assert runs() == 2 * 4 * 4
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_recompute_grad() -> None:
    w = tf.Variable(tf.random.stateless_normal([3, 3, 3, 4], [1, 2]))

    def block(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME"))

    def gradient(block) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(block(tf.constant(X)) ** 2)
        return tape.gradient(loss, w)

    expected = gradient(block)
    assert runs() == 1
    for function in (gradient, tf.function(gradient)):
        np.testing.assert_allclose(function(tf.recompute_grad(block)), expected, rtol=1e-6)
    assert runs() == 3


def test_op_determinism() -> None:
    """In a process of its own: the switch cannot be turned off."""
    program = """
from test_training_modes import trained
tf.config.experimental.enable_op_determinism()
with plugin.patched_tensorflow():
    first, second = trained(), trained()
assert first[0] == second[0]
assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))
print(sum(plugin.run_counts().values()))
"""
    assert run_program(program) == f"{2 * 2 * 4 * 4}\n"


@pytest.mark.parametrize(
    "compiled", [pytest.param(False, id="tf.function"), pytest.param(True, id="XLA", marks=needs_engine)]
)
def test_profiler_trace_names_the_algorithm(compiled: bool, tmp_path: pathlib.Path, auto_afterwards: None) -> None:
    w = tf.random.stateless_normal([3, 3, 3, 4], [1, 2])

    @tf.function(jit_compile=compiled)
    def gradient(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(w)
            loss = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "SAME") ** 2)
        return tape.gradient(loss, w)

    gradient(X)  # traced and compiled
    with tf.profiler.experimental.Profile(str(tmp_path)):
        for algorithm in ("direct", "reference"):
            plugin.set_algorithm(algorithm)
            gradient(X)
    (trace,) = tmp_path.glob("**/*.xplane.pb")
    assert algorithms_in(trace) == ["direct", "reference"]


def algorithms_in(trace: pathlib.Path) -> list[str]:
    """Those of the events named wgrad, in the order of time."""
    found = []
    for plane in xplane_pb2.XSpace.FromString(trace.read_bytes()).planes:
        for line in plane.lines:
            for event in line.events:
                if plane.event_metadata[event.metadata_id].name != "wgrad":
                    continue
                for stat in event.stats:
                    if plane.stat_metadata[stat.metadata_id].name == "algorithm":
                        name = stat.str_value or plane.stat_metadata[stat.ref_value].name
                        found.append((1000 * line.timestamp_ns + event.offset_ps, name))
    return [name for _, name in sorted(found)]


def test_forward_mode_over_reverse_mode() -> None:
    """A Hessian-vector product by forward differentiation of a patched gradient."""
    x, w = tf.constant(X), tf.random.stateless_normal([3, 3, 3, 4], [1, 2])
    direction = tf.random.stateless_normal(w.shape, [3, 4])

    def gradient(w: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(w)
            loss = tf.reduce_sum(tf.sin(tf.nn.conv2d(x, w, 2, "SAME")))
        return tape.gradient(loss, w)

    with tf.autodiff.ForwardAccumulator(w, direction) as forward:
        dw = gradient(w)
    with tf.GradientTape() as tape:
        tape.watch(w)
        product = tf.reduce_sum(gradient(w) * direction)
    expected = tape.gradient(product, w)  # reverse over reverse
    np.testing.assert_allclose(forward.jvp(dw), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
