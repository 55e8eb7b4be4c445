"""Forks, unloading, and processes that are killed."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys

import pytest
from programs import run_program

TRAIN = pathlib.Path(__file__).with_name("train.py")


@pytest.mark.parametrize("parent_computes", [False, True])
def test_child_of_a_fork_computes(parent_computes):
    """In the child TensorFlow's threads are gone; its own ops wait for them for ever once they need more than one."""
    out = run_program(
        """
        import signal

        conv = Convolution(image=(28, 28), channels=64, filters=64, padding="SAME")
        x, dy = conv.data("float32")
        filter = np.zeros(conv.filter_shape, np.float32)

        def check():
            dw = plugin.conv2d_backprop_filter_v2(x, filter, dy, **conv.attributes)
            assert_within_contract(conv, x, dy, dw.numpy(), "float32")

        if sys.argv[1] == "True":
            check()
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that hangs
            check()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        check()
        print("both computed")
        """,
        str(parent_computes),
    )
    assert out == "both computed\n"


def test_gradients_of_a_fork_are_not_taken_for_ones_of_its_parent(tmp_path):
    """Both have numbered their convolutions from the same one on."""
    run_program(
        """
        x, w = tf.ones([1, 6, 6, 1]), tf.ones([3, 3, 1, 1])

        def convolution(dilations):
            function = tf.function(lambda x, w: plugin.conv2d(x, w, 1, "SAME", dilations=dilations))
            function.get_concrete_function(x, w)
            return function

        child = os.fork()
        if child == 0:
            model = tf.Module()
            model.convolution = convolution(2)
            options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
            tf.saved_model.save(model, sys.argv[1], options=options)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        convolution(1)
        model = tf.saved_model.load(sys.argv[1])
        try:
            with tf.GradientTape() as tape:
                tape.watch(w)
                y = model.convolution(x, w)
            tape.gradient(y, w)
        except LookupError:
            sys.exit()
        sys.exit("found a gradient")
        """,
        str(tmp_path),
    )


def test_loading_and_unloading_again_and_again():
    run_program("""
        import _ctypes, ctypes, importlib

        def check(module):
            dw = module.conv2d_backprop_filter_v2(
                tf.ones([1, 3, 3, 1]), tf.zeros([2, 2, 1, 1]), tf.ones([1, 2, 2, 1]), [1, 1, 1, 1], "VALID"
            )
            assert (dw.numpy() == 4).all()

        for _ in range(10):
            check(importlib.reload(plugin))
            tf.load_op_library(plugin.library_path())
            _ctypes.dlclose(ctypes.CDLL(plugin.library_path())._handle)
            check(tf)
    """)


def final_weights(folder: pathlib.Path, kill_after: list[int]) -> str:
    """Trains in `folder`; a run is killed as soon as it says that it has begun one of these steps, and begun again."""
    for step in [*kill_after, None]:
        with subprocess.Popen(
            [sys.executable, str(TRAIN), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            lines = []
            for line in process.stdout:
                lines.append(line.strip())
                if lines[-1] == f"step {step}":
                    process.send_signal(signal.SIGKILL)
            stderr = process.stderr.read()
        assert process.returncode == (0 if step is None else -signal.SIGKILL), stderr[-2000:]
    return lines[-1]


def test_killed_training_resumes_with_the_same_weights(tmp_path):
    uninterrupted = final_weights(tmp_path / "uninterrupted", [])
    assert uninterrupted.startswith("weights ")
    assert final_weights(tmp_path / "killed", [7]) == uninterrupted
