"""The op and its gradients in a SavedModel, exported here and loaded in processes with and without the plugin."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin

X = np.random.default_rng(0).standard_normal([3, 6, 5, 4]).astype(np.float32)
LOAD = """
import sys, numpy as np, tensorflow as tf
model, x = tf.saved_model.load(sys.argv[1]), np.load(sys.argv[2])
"""


class Model(tf.Module):
    """A dilated, grouped convolution, its own step of gradient descent, and the op by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = tf.Variable(np.random.default_rng(1).standard_normal([3, 2, 2, 2]).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 5, 4])])
    def train(self, x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.conv2d(x, self.filters, 1, "VALID", dilations=2) ** 2)
        self.filters.assign_sub(1e-3 * tape.gradient(loss, self.filters))
        return loss

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 5, 4])])
    def filter_gradient(self, x):
        return {"dw": tf.conv2d_backprop_filter_v2(x, self.filters, x[:, :4, :4, :2], [1, 1, 1, 1], "VALID")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Iterator[tuple[Model, pathlib.Path]]:
    model, path = Model(), tmp_path_factory.mktemp("model")
    np.save(path / "x.npy", X)
    with plugin.patched_tensorflow():
        tf.saved_model.save(model, path, signatures={"filter_gradient": model.filter_gradient})
        yield model, path


def in_fresh_process(program: str, path: pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, path, path / "x.npy"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_reload_with_the_plugin(saved) -> None:
    model, path = saved
    program = (
        "import tensorflow_conv_backprop as plugin"
        + LOAD
        + """
values = {"dw": model.signatures["filter_gradient"](tf.constant(x))["dw"]}
values["empty"] = model.signatures["filter_gradient"](tf.constant(x[:0]))["dw"]
with tf.GradientTape() as tape:
    x = tf.constant(x)
    tape.watch(x)
    dw = model.filter_gradient(x)["dw"]
values["dx"] = tape.gradient(dw, x)
plugin.reset_run_counts()
values["loss"] = [model.train(x), model.train(x)]
values["count"] = sum(plugin.run_counts().values())
np.savez(sys.argv[1] + "/values.npz", **values)
"""
    )
    run = in_fresh_process(program, path)
    assert run.returncode == 0, run.stderr
    values = np.load(path / "values.npz")

    with tf.GradientTape() as tape:
        x = tf.constant(X)
        tape.watch(x)
        dw = model.filter_gradient(x)["dw"]
    np.testing.assert_array_equal(values["dw"], dw)
    np.testing.assert_array_equal(values["empty"], np.zeros(dw.shape))
    np.testing.assert_array_equal(values["dx"], tape.gradient(dw, x))
    losses = [model.train(x), model.train(x)]
    np.testing.assert_array_equal(values["loss"], losses)
    assert losses[1] < losses[0]
    assert values["count"] == 2


def test_gradients_of_another_process_are_not_taken_for_ones_of_this(tmp_path: pathlib.Path) -> None:
    """Both processes number their convolutions from the first on."""
    model = tf.Module()
    model.convolution = tf.function(lambda x, w: plugin.conv2d(x, w, 1, "SAME"))
    x, w = tf.TensorSpec([1, 6, 6, 1]), tf.TensorSpec([3, 3, 1, 1])
    signature = model.convolution.get_concrete_function(x, w)
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(model, tmp_path, signatures=signature, options=options)
    program = """
import sys, tensorflow as tf, tensorflow_conv_backprop as plugin
x, w = tf.ones([1, 6, 6, 1]), tf.ones([3, 3, 1, 1])
for _ in range(200):
    tf.function(lambda x, w: plugin.conv2d(x, w, 1, "SAME", dilations=2)).get_concrete_function(x, w)
model = tf.saved_model.load(sys.argv[1])
with tf.GradientTape() as tape:
    tape.watch(w)
    y = model.convolution(x, w)
tape.gradient(y, w)
"""
    run = in_fresh_process(program, tmp_path)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("LookupError: "), run.stderr


def test_without_the_plugin_the_error_names_the_op(saved) -> None:
    _, path = saved
    run = in_fresh_process(LOAD + "model.filter_gradient(tf.constant(x))", path)
    assert run.returncode == 1
    assert "Conv2DBackpropFilterV2" in run.stderr
