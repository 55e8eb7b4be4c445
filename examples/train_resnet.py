"""Trains ResNet-50 or a small U-Net on patches of two photographs, with TensorFlow's filter gradients and with this
plugin's, and compares the time of a step and the losses.

    .venv/bin/python examples/train_resnet.py --model resnet50 --size 96 --batch 16
    .venv/bin/python examples/train_resnet.py --model unet --size 96 --batch 8 --policy mixed_bfloat16 --xla

The photographs are the two that scikit-learn ships. ResNet-50 learns which of them a patch was cut from, the U-Net to
take noise out of a patch. Both trainings start from the same weights and see the same batches, a step of one after a
step of the other, so that changes of the machine's speed fall on both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as conv_backprop
from sklearn.datasets import load_sample_images

Batch = tuple[np.ndarray, np.ndarray]


def main() -> None:
    options = _parse_options()
    keras.mixed_precision.set_global_policy(options.policy)
    make_model, make_batches = {"resnet50": (resnet50, patches), "unet": (unet, noisy_batches)}[options.model]
    stock, plugin = make_model(options.size), make_model(options.size)
    plugin.set_weights(stock.get_weights())
    stock_step = training_step(stock, options.xla)
    plugin_step = training_step(plugin, options.xla)

    batches = make_batches(options.batch, options.size)
    stock_times, plugin_times, stock_losses, plugin_losses = [], [], [], []
    until = float("inf")
    for step in range(options.steps + 1):
        images, targets = next(batches)
        stock_seconds, stock_loss = _timed(stock_step, images, targets)
        with conv_backprop.patched_tensorflow():  # takes effect when the first call traces the step
            plugin_seconds, plugin_loss = _timed(plugin_step, images, targets)
        if step == 0:  # traces and compiles
            until = time.monotonic() + options.seconds
            continue
        stock_times.append(stock_seconds)
        plugin_times.append(plugin_seconds)
        stock_losses.append(stock_loss)
        plugin_losses.append(plugin_loss)
        print(
            f"step {step:3}  loss {stock_loss:.5f} {plugin_loss:.5f}  seconds {stock_seconds:.3f} {plugin_seconds:.3f}"
        )
        if time.monotonic() > until:
            break

    ratio = np.median(np.divide(plugin_times, stock_times))
    difference = np.max(np.abs(np.divide(plugin_losses, stock_losses) - 1))
    print(f"\n{options.model}, {options.size} x {options.size}, batch {options.batch}, {options.policy}", end="")
    print(", XLA" if options.xla else "")
    print(f"median seconds a step: {np.median(stock_times):.3f} stock, {np.median(plugin_times):.3f} with the plugin")
    print(f"median of the ratios, step by step: {ratio:.3f}")
    print(f"largest relative difference of the losses: {difference:.1e}")
    print(f"filter gradients by the plugin: {conv_backprop.run_counts()}")
    if options.output:
        trainings = {
            "stock": {"seconds": stock_times, "losses": stock_losses},
            "plugin": {"seconds": plugin_times, "losses": plugin_losses},
        }
        options.output.write_text(json.dumps(trainings))


def training_step(model: keras.Model, xla: bool) -> Callable[[np.ndarray, np.ndarray], tf.Tensor]:
    """One step of gradient descent on the mean squared error, or on the cross entropy for integer targets."""
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=xla)
    def step(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            outputs = tf.cast(model(images, training=True), tf.float32)
            if targets.dtype.is_integer:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
            else:
                losses = tf.square(outputs - targets)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def resnet50(size: int) -> keras.Model:
    """Every residual branch starts at zero: from Keras's random weights gradients explode, and rounding errors with them."""
    model = keras.applications.ResNet50(
        weights=None, input_shape=(size, size, 3), classes=2, classifier_activation=None
    )
    for layer in model.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(tf.zeros_like(layer.gamma))
    return model


def unet(size: int) -> keras.Model:
    """Three levels of 32, 64 and 128 channels, two 3 x 3 convolutions at each."""

    def block(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        for _ in range(2):
            x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        return x

    inputs = x = keras.Input((size, size, 3))
    skips = []
    for channels in (32, 64):
        x = block(x, channels)
        skips.append(x)
        x = keras.layers.MaxPooling2D()(x)
    x = block(x, 128)
    for channels, skip in zip((64, 32), reversed(skips), strict=True):
        x = keras.layers.Conv2DTranspose(channels, 2, strides=2)(x)
        x = block(keras.layers.Concatenate()([x, skip]), channels)
    return keras.Model(inputs, keras.layers.Conv2D(3, 1, dtype="float32")(x))


def patches(batch: int, size: int) -> Iterator[Batch]:
    """Patches of float32 in [0, 1] and the index of the photograph that each was cut from, without end."""
    photographs = [image / np.float32(255) for image in load_sample_images().images]
    random = np.random.default_rng(0)
    while True:
        labels = random.integers(len(photographs), size=batch)
        images = []
        for label in labels:
            height, width, _ = photographs[label].shape
            top, left = random.integers(height - size + 1), random.integers(width - size + 1)
            images.append(photographs[label][top : top + size, left : left + size])
        yield np.stack(images), labels


def noisy_batches(batch: int, size: int) -> Iterator[Batch]:
    random = np.random.default_rng(1)
    for images, _ in patches(batch, size):
        yield images + random.normal(0, 0.1, images.shape).astype(np.float32), images


def _timed(step: Callable[..., tf.Tensor], images: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    inputs = tf.constant(images), tf.constant(targets)
    start = time.perf_counter()
    loss = float(step(*inputs))
    return time.perf_counter() - start, loss


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("resnet50", "unet"), default="resnet50")
    parser.add_argument("--size", type=int, default=96, help="height and width of a patch")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after so many no further step starts")
    parser.add_argument("--policy", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--xla", action="store_true", help="compile the whole step")
    parser.add_argument("--output", type=pathlib.Path, help="a file for the times and losses of all steps, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
