"""One function called from many threads, and cancelled while it runs."""

from __future__ import annotations

import concurrent.futures
import threading
import time

import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import Convolution, assert_within_contract
from tensorflow.python.eager import cancellation


@pytest.mark.parametrize("retraces", [True, False], ids=["a graph for each shape", "one graph"])
def test_threads_call_one_function_on_different_shapes(retraces):
    unknown = tf.TensorSpec([None] * 4)

    @tf.function(input_signature=None if retraces else [unknown] * 3)
    def gradient(x: tf.Tensor, filter: tf.Tensor, dy: tf.Tensor) -> tf.Tensor:
        return plugin.conv2d_backprop_filter_v2(x, filter, dy, [1, 1, 1, 1], "SAME")

    kinds = [
        {"channels": 16, "filters": 24},  # Winograd
        {"channels": 40, "filters": 40, "groups": 40},  # depthwise
        {"channels": 24, "filters": 16, "kernel": (1, 1)},  # direct
        {"channels": 3, "filters": 17, "kernel": (5, 2)},  # direct, with rows of the filter in one run
    ]
    convs = [Convolution(batch=2, image=(12 + i, 30 - i), padding="SAME", **kinds[i % 4]) for i in range(16)]
    start = threading.Barrier(len(convs))

    def check(conv: Convolution) -> None:
        x, dy = conv.data("float32")
        start.wait(60)
        for _ in range(20):
            dw = gradient(x, tf.zeros(conv.filter_shape), dy).numpy()
        assert_within_contract(conv, x, dy, dw, "float32")

    with concurrent.futures.ThreadPoolExecutor(len(convs)) as pool:
        for result in [pool.submit(check, conv) for conv in convs]:
            result.result(timeout=120)


def test_cancelled_function_stops_and_leaves_the_op_usable():
    conv = Convolution(image=(28, 28), channels=64, filters=64, padding="SAME")
    x, dy = conv.data("float32")

    @tf.function
    def repeat(times: tf.Tensor) -> tf.Tensor:
        dw = tf.zeros(conv.filter_shape)
        for _ in tf.range(times):
            dw = plugin.conv2d_backprop_filter_v2(x, dw, dy, **conv.attributes)
        return dw

    forever = repeat.get_concrete_function(tf.TensorSpec([], tf.int32))
    manager = cancellation.CancellationManager()
    plugin.reset_run_counts()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(manager.get_cancelable_function(forever), tf.constant(2**31 - 1))
        while sum(plugin.run_counts().values()) < 10:
            assert not running.done()
            time.sleep(0.01)
        manager.start_cancel()
        with pytest.raises(tf.errors.CancelledError):
            running.result(timeout=60)
    assert_within_contract(conv, x, dy, repeat(tf.constant(3)).numpy(), "float32")
