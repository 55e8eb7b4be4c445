"""Trains one model under a distribution strategy. Run by test_distribution.py in processes of its own.

python distribution.py STRATEGY OUTPUT     saves the trained filters, and prints how often the plugin ran

The model is linear least squares with a dilated, grouped convolution, for whose gradients stock TensorFlow has no kernel
on CPU. Every step is one of gradient descent on the whole global batch.
"""

from __future__ import annotations

import json
import os
import socket
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as plugin

STEPS = 4
RATE = 0.5
_generator = np.random.default_rng(0)
X = _generator.standard_normal([8, 4, 4, 4]).astype(np.float32)
TARGET = _generator.standard_normal([8, 4, 4, 6]).astype(np.float32)
FILTERS = _generator.standard_normal([3, 3, 2, 6]).astype(np.float32)


def model(x: tf.Tensor, filters: tf.Variable) -> tf.Tensor:
    return tf.nn.conv2d(x, filters, 1, "SAME", dilations=2)


def gradient(filters: tf.Variable, x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """That of the part which these examples have in the mean over the global batch."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((model(x, filters) - target) ** 2) / TARGET.size
    return tape.gradient(loss, filters)


def one_device() -> np.ndarray:
    filters = tf.Variable(FILTERS)
    for _ in range(STEPS):
        filters.assign_sub(RATE * gradient(filters, tf.constant(X), tf.constant(TARGET)))
    return filters.numpy()


def mirrored() -> np.ndarray:
    return _synchronous(tf.distribute.MirroredStrategy(_two_devices()))


def multi_worker() -> np.ndarray:
    """The other worker is another process; TF_CONFIG says which this one is."""
    return _synchronous(tf.distribute.MultiWorkerMirroredStrategy())


def keras_mirrored() -> np.ndarray:
    with tf.distribute.MirroredStrategy(_two_devices()).scope():
        layer = tf.keras.layers.Conv2D(6, 3, padding="same", groups=2, dilation_rate=2, use_bias=False)
        network = tf.keras.Sequential([tf.keras.Input(X.shape[1:]), layer])
        network.compile(tf.keras.optimizers.SGD(RATE), "mse", jit_compile=False)
    layer.set_weights([FILTERS])
    network.fit(X, TARGET, batch_size=len(X), epochs=STEPS, shuffle=False, verbose=0)
    return layer.get_weights()[0]


def parameter_server() -> np.ndarray:
    """Two workers and one parameter server in this process. The coordinator adds the workers' gradients."""
    cluster = {"worker": [free_address(), free_address()], "ps": [free_address()]}
    # With as many threads as a small machine has processors, the servers would wait for each other.
    config = tf.compat.v1.ConfigProto(inter_op_parallelism_threads=4)
    servers = [
        tf.distribute.Server(cluster, job_name=job, task_index=task, config=config)
        for job, addresses in cluster.items()
        for task in range(len(addresses))
    ]
    filters = _coordinate(cluster)
    del servers  # they serve until here
    return filters


def coordinator() -> np.ndarray:
    """As parameter_server, with the servers of the processes that the environment names."""
    return _coordinate(json.loads(os.environ["CLUSTER"]))


def free_address() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return f"localhost:{found.getsockname()[1]}"


def _coordinate(cluster: dict[str, list[str]]) -> np.ndarray:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(tf.train.ClusterSpec(cluster), rpc_layer="grpc")
    strategy = tf.distribute.ParameterServerStrategy(resolver)
    coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
    with strategy.scope():
        filters = tf.Variable(FILTERS)

    @tf.function
    def of_worker(x: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        return gradient(filters, x, target)

    halves = [(tf.constant(X[half]), tf.constant(TARGET[half])) for half in (np.s_[:4], np.s_[4:])]
    for _ in range(STEPS):
        gradients = [coordinator.schedule(of_worker, args) for args in halves]
        coordinator.join()
        filters.assign_sub(RATE * tf.add_n([one.fetch() for one in gradients]))
    return filters.numpy()


def _synchronous(strategy: tf.distribute.Strategy) -> np.ndarray:
    with strategy.scope():
        filters = tf.Variable(FILTERS, aggregation=tf.VariableAggregation.SUM)
    batch = tf.data.Dataset.from_tensor_slices((X, TARGET)).batch(len(X))

    @tf.function
    def step(x: tf.Tensor, target: tf.Tensor) -> None:
        strategy.run(lambda x, target: filters.assign_sub(RATE * gradient(filters, x, target)), (x, target))

    for x, target in strategy.experimental_distribute_dataset(batch.repeat(STEPS)):
        step(x, target)
    return filters.numpy()


def _two_devices() -> list[str]:
    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
    return ["CPU:0", "CPU:1"]


if __name__ == "__main__":
    with plugin.patched_tensorflow():
        np.save(sys.argv[2], globals()[sys.argv[1]]())
    print(sum(plugin.run_counts().values()))
