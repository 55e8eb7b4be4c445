"""A saved model with the op in a C program that knows TensorFlow's C API and the plugin's libraries, not Python."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from tensorflow.core.protobuf import saved_model_pb2
from test_saved_model import Model

SOURCE = pathlib.Path(__file__).parent / "capi" / "run_saved_model.c"
LIBRARY = pathlib.Path(plugin.library_path())
XLA_LIBRARY = LIBRARY.with_name("_conv_backprop_xla.so")
# What the program feeds.
X = (np.arange(2 * 6 * 5 * 4) % 5).astype(np.float32).reshape(2, 6, 5, 4)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler (cc)")
    output = tmp_path_factory.mktemp("program") / SOURCE.stem
    tensorflow = tf.sysconfig.get_lib()
    subprocess.run(
        [
            *(compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", SOURCE, "-o", output),
            *("-isystem", tf.sysconfig.get_include(), f"-Wl,-rpath,{tensorflow}"),
            *(f"{tensorflow}/{library}" for library in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")),
        ],
        check=True,
    )
    return output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("model")
    model = Model()
    compiled = tf.function(model.filter_gradient.python_function, jit_compile=True)
    signatures = {
        "filter_gradient": model.filter_gradient,
        "compiled": compiled.get_concrete_function(tf.TensorSpec(X.shape)),
        "train": model.train,
    }
    with plugin.patched_tensorflow():
        tf.saved_model.save(model, path, signatures=signatures)
    return path


def run(
    program: pathlib.Path, model: pathlib.Path, signature: str, libraries: list[pathlib.Path]
) -> subprocess.CompletedProcess[str]:
    saved = saved_model_pb2.SavedModel.FromString((model / "saved_model.pb").read_bytes())
    tensors = saved.meta_graphs[0].signature_def[signature]
    (input,), (output,) = tensors.inputs.values(), tensors.outputs.values()
    command = [program, model, input.name, output.name, *libraries]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def computed(*arguments) -> np.ndarray:
    """The outputs of the signature's two runs."""
    process = run(*arguments)
    assert process.returncode == 0, process.stderr[-2000:]
    return np.array(process.stdout.split(), np.float32).reshape(2, -1)


@pytest.mark.parametrize(
    ("signature", "libraries"), [("filter_gradient", [LIBRARY]), ("compiled", [LIBRARY, XLA_LIBRARY])]
)
def test_filter_gradient(
    program: pathlib.Path, model: pathlib.Path, signature: str, libraries: list[pathlib.Path]
) -> None:
    python = Model()
    expected = python.filter_gradient(X)["dw"]
    first, second = computed(program, model, signature, libraries)
    np.testing.assert_array_equal(first, np.ravel(expected))
    np.testing.assert_array_equal(second, first)


def test_training_step(program: pathlib.Path, model: pathlib.Path) -> None:
    """The second run's loss is that of the filters which the first one trained."""
    python = Model()
    with plugin.patched_tensorflow():
        expected = [[python.train(X)], [python.train(X)]]
    losses = computed(program, model, "train", [LIBRARY])
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[1] < losses[0]


@pytest.mark.parametrize(("signature", "libraries"), [("filter_gradient", []), ("train", []), ("compiled", [LIBRARY])])
def test_without_a_library_the_error_names_the_op(
    program: pathlib.Path, model: pathlib.Path, signature: str, libraries: list[pathlib.Path]
) -> None:
    process = run(program, model, signature, libraries)
    assert process.returncode == 1
    assert process.stdout == ""
    assert "registered" in process.stderr
    assert "Conv2DBackpropFilterV2" in process.stderr
    if signature == "train":  # the node of a patched gradient has a name that says what to load
        assert "tensorflow_conv_backprop/filter_gradient" in process.stderr
