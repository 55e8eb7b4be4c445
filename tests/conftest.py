"""What the tests share: devices, forced algorithms, and how hypothesis runs."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the bad inputs would fill the log with their errors

import hypothesis
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin

hypothesis.settings.register_profile("default", deadline=None, derandomize=True, max_examples=150)
hypothesis.settings.load_profile("default")


@pytest.fixture(
    scope="module",
    params=[
        "/CPU:0",
        pytest.param(
            "/GPU:0",
            marks=pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU"),
        ),
    ],
)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of device that there are kernels for; ops of the test run there, float32 without tf32."""
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    with tf.device(request.param):
        yield request.param
    tf.config.experimental.enable_tensor_float_32_execution(tf32)


@pytest.fixture
def auto_afterwards() -> Iterator[None]:
    """For tests that force an algorithm."""
    yield
    plugin.set_algorithm("auto")
