"""The library alone, without the Python package, as tf.load_op_library, ctypes and v1 programs use it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import tensorflow_conv_backprop as plugin

ONES = "tf.ones([1, 2, 3, 1]), tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], 'VALID'"


def run(program: str, **environment: str) -> str:
    """Runs `program` in a process of its own, which knows the library's path and not the package."""
    program = f"import sys, numpy as np, tensorflow as tf\nlibrary = {plugin.library_path()!r}\n" + textwrap.dedent(
        program
    )
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
        env=variables,
        cwd="/",
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout


def test_v1_session_with_a_batch_that_is_not_known():
    out = run("""
        tf.load_op_library(library)
        tf.compat.v1.disable_eager_execution()
        x = tf.compat.v1.placeholder(tf.float32, [None, 2, 3, 1])
        dy = tf.compat.v1.placeholder(tf.float32, [None, 1, 2, 1])
        dw = tf.compat.v1.conv2d_backprop_filter_v2(x, tf.zeros([2, 2, 1, 1]), dy, [1, 1, 1, 1], "VALID")
        assert dw.shape == [2, 2, 1, 1]
        with tf.compat.v1.Session() as session:
            for batch in (1, 5, 0):
                image = np.array([[[1], [2], [3]], [[4], [5], [6]]], np.float32)
                gradient = np.array([[[1], [10]]], np.float32)
                feed = {x: np.repeat(image[np.newaxis], batch, 0), dy: np.repeat(gradient[np.newaxis], batch, 0)}
                print(session.run(dw, feed).ravel().tolist())
    """)
    assert out.splitlines() == ["[21.0, 32.0, 54.0, 65.0]", "[105.0, 160.0, 270.0, 325.0]", "[0.0, 0.0, 0.0, 0.0]"]


@pytest.mark.parametrize("how", ["tf.load_op_library", "ctypes.CDLL"])
def test_loading_twice_does_no_harm(how):
    out = run(f"""
        import ctypes
        {how}(library)
        {how}(library)
        tf.load_op_library(library)
        assert "tensorflow_conv_backprop" not in sys.modules
        print(tf.conv2d_backprop_filter_v2({ONES}).numpy().ravel().tolist())
    """)
    assert out == "[2.0, 2.0, 2.0, 2.0]\n"


def test_closing_leaves_the_kernels():
    """TensorFlow keeps pointers into every library that has registered kernels."""
    out = run(f"""
        import _ctypes, ctypes
        _ctypes.dlclose(ctypes.CDLL(library)._handle)
        print(tf.conv2d_backprop_filter_v2({ONES}).numpy().ravel().tolist())
    """)
    assert out == "[2.0, 2.0, 2.0, 2.0]\n"


def test_environment_variable_chooses():
    out = run(
        f"""
        import ctypes
        tf.load_op_library(library)
        tf.conv2d_backprop_filter_v2({ONES})
        functions = ctypes.CDLL(library)
        functions.wgrad_run_counts.restype = functions.wgrad_get_algorithm.restype = ctypes.c_char_p
        print(functions.wgrad_get_algorithm().decode())
        print(functions.wgrad_run_counts().decode())
        """,
        TF_CONV_BACKPROP_ALGORITHM="reference",
    )
    name, counts = out.splitlines()
    assert name == "reference"
    assert '"reference": 1' in counts


def test_unknown_algorithm_in_the_environment():
    out = run(
        f"""
        tf.load_op_library(library)
        try:
            tf.conv2d_backprop_filter_v2({ONES})
        except tf.errors.InvalidArgumentError as error:
            print(error.message)
        """,
        TF_CONV_BACKPROP_ALGORITHM="fastest",
    )
    names = "auto, direct, winograd, depthwise, reference"
    assert f"TF_CONV_BACKPROP_ALGORITHM must be one of {names}, got fastest" in out
