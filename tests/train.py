"""Trains a small network with patched gradients and a checkpoint after each step. Run by test_processes.py.

python train.py FOLDER     goes on from the latest checkpoint in FOLDER, and prints each step as it begins it
"""

from __future__ import annotations

import hashlib
import sys

import tensorflow as tf
import tensorflow_conv_backprop as plugin

STEPS = 16

tf.config.experimental.enable_op_determinism()
plugin.patch_tensorflow()


def normal(shape: list[int], seed: int) -> tf.Tensor:
    return tf.random.stateless_normal(shape, [seed, 0])


weights = [tf.Variable(0.1 * normal(shape, seed)) for seed, shape in enumerate([[3, 3, 3, 16], [3, 3, 8, 32], [32, 1]])]
momentum = [tf.Variable(tf.zeros_like(w)) for w in weights]
step = tf.Variable(0)
checkpoint = tf.train.Checkpoint(weights=weights, momentum=momentum, step=step)
manager = tf.train.CheckpointManager(checkpoint, sys.argv[1], max_to_keep=2)


@tf.function
def train(x: tf.Tensor, y: tf.Tensor) -> None:
    with tf.GradientTape() as tape:
        hidden = tf.nn.relu(tf.nn.conv2d(x, weights[0], 1, "SAME"))
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, weights[1], 1, "SAME", dilations=2))  # two groups
        loss = tf.reduce_mean((tf.reduce_mean(hidden, [1, 2]) @ weights[2] - y) ** 2)
    for w, m, gradient in zip(weights, momentum, tape.gradient(loss, weights), strict=True):
        m.assign(0.9 * m + gradient)
        w.assign_sub(0.1 * m)


checkpoint.restore(manager.latest_checkpoint)
while int(step) < STEPS:
    print("step", int(step), flush=True)
    x = normal([8, 20, 20, 3], 100 + int(step))
    train(x, tf.reduce_mean(x, [1, 2, 3])[:, tf.newaxis])
    step.assign_add(1)
    manager.save()
assert sum(plugin.run_counts().values()) > 0
print("weights", hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest())
