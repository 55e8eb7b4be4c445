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

DEVICES = ["/CPU:0"] + (["/GPU:0"] if tf.config.list_physical_devices("GPU") else [])


@pytest.fixture(scope="module", params=DEVICES)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each device that TensorFlow sees; ops of the test run there."""
    with tf.device(request.param):
        yield request.param


@pytest.fixture
def auto_afterwards() -> Iterator[None]:
    """For tests that force an algorithm."""
    yield
    plugin.set_algorithm("auto")
