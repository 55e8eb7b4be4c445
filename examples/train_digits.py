"""Trains a small CNN on scikit-learn's handwritten digits, every filter gradient computed by this plugin.

The same training runs twice, with this plugin's filter gradients and with TensorFlow's own, from the same weights and
over the same batches. Saves a picture of both loss curves and of the learned filters.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import matplotlib
import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as conv_backprop
from sklearn.datasets import load_digits

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BATCH = 32
HELD_OUT = 360  # of 1,797 images
LEARNING_RATE = 0.05
OUTPUT = pathlib.Path(__file__).parent / "output" / "digits.png"


@dataclasses.dataclass(frozen=True)
class Digits:
    """Scanned digits, `[count, 8, 8, 1]` float32 in [0, 1], and what they show."""

    images: np.ndarray
    labels: np.ndarray

    def batches(self, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.random.default_rng(seed).permutation(len(self.images))
        for i in range(0, len(order) - BATCH + 1, BATCH):
            chosen = order[i : i + BATCH]
            yield self.images[chosen], self.labels[chosen]


def load() -> tuple[Digits, Digits]:
    """Digits to train with, and digits held out."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    images = (data.images / 16.0).astype(np.float32)[order, ..., np.newaxis]
    labels = data.target[order].astype(np.int32)
    return Digits(images[HELD_OUT:], labels[HELD_OUT:]), Digits(images[:HELD_OUT], labels[:HELD_OUT])


class Network(tf.Module):
    """Three convolutions, the second and third with stride 2, and a linear layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)

        def weights(*shape: int) -> tf.Variable:
            spread = np.sqrt(2.0 / np.prod(shape[:-1]))
            return tf.Variable(generator.normal(0.0, spread, shape).astype(np.float32))

        self.filters = [weights(5, 5, 1, 16), weights(3, 3, 16, 32), weights(3, 3, 32, 64)]
        self.linear = weights(2 * 2 * 64, 10)

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        x = images
        for filters, stride in zip(self.filters, (1, 2, 2), strict=True):
            x = tf.nn.relu(tf.nn.conv2d(x, filters, stride, "SAME"))
        return tf.reshape(x, [-1, 2 * 2 * 64]) @ self.linear


@dataclasses.dataclass
class History:
    losses: list[float]
    accuracies: list[float]
    weights: list[np.ndarray]
    seconds: float


def train(name: str, epochs: int, training: Digits, held_out: Digits) -> History:
    """Trains a new network with the gradients that TensorFlow has registered now."""
    network = Network(seed=1)
    steps = len(training.images) // BATCH
    # Not Adam: it divides by gradients that may be tiny, which turns differences in rounding into other weights.
    rate = tf.keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * steps)
    optimizer = tf.keras.optimizers.SGD(rate, momentum=0.9)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(images)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    history = History([], [], [], 0.0)
    start = time.perf_counter()
    for epoch in range(epochs):
        for done, (images, labels) in enumerate(training.batches(seed=epoch), 1):
            history.losses.append(float(step(images, labels)))
            show_progress(f"{name}  epoch {epoch + 1:2}/{epochs}", done / steps)
        accuracy = float(np.mean(np.argmax(network(held_out.images), axis=1) == held_out.labels))
        history.accuracies.append(accuracy)
        loss = np.mean(history.losses[-steps:])
        print(f"{name}  epoch {epoch + 1:2}/{epochs}  loss {loss:.4f}  held-out accuracy {accuracy:.2%}")
    history.seconds = time.perf_counter() - start
    history.weights = [variable.numpy() for variable in network.trainable_variables]
    return history


def show_progress(title: str, fraction: float) -> None:
    """Draws a bar over the current line of a terminal; the line that follows it must be no shorter."""
    if sys.stdout.isatty():
        done = round(30 * fraction)
        print(f"{title}  [{'#' * done}{'.' * (30 - done)}]", end="\r" if fraction < 1 else "\r\033[K", flush=True)


def draw(ours: History, stock: History, path: pathlib.Path) -> None:
    figure = plt.figure(figsize=(11, 4.8), layout="constrained")
    axes = figure.subplot_mosaic([["loss", "filters"], ["difference", "filters"]], width_ratios=[1.3, 1])

    loss = axes["loss"]
    steps = len(ours.losses) // len(ours.accuracies)  # in an epoch
    for history, style in (
        (ours, {"color": "#0b6e99", "linewidth": 3, "label": "this plugin's filter gradients"}),
        (stock, {"color": "#f28e2b", "linewidth": 1.3, "linestyle": "--", "label": "TensorFlow's own"}),
    ):
        means = np.convolve(history.losses, np.full(steps, 1 / steps), mode="valid")
        loss.semilogy(np.arange(steps, len(ours.losses) + 1), means, **style)
    loss.set(title=f"Training loss, mean of the last {steps} steps", ylabel="cross-entropy")
    loss.legend(frameon=False)

    difference = axes["difference"]
    difference.semilogy(np.abs(np.subtract(ours.losses, stock.losses)), ".", markersize=2, color="#555555")
    difference.set(title="Difference between the two losses of a step", xlabel="step")
    for panel in (loss, difference):
        panel.set_xlim(0, len(ours.losses))
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)

    filters = np.moveaxis(ours.weights[0][:, :, 0, :], 2, 0).reshape(4, 4, 5, 5)
    tiles = np.pad(filters, [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=np.nan)  # one pixel between filters
    mosaic = np.block([list(row) for row in tiles])[:-1, :-1]
    limit = np.nanmax(np.abs(mosaic))
    image = axes["filters"].imshow(mosaic, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes["filters"].set_title(f"First-layer filters, held-out accuracy {ours.accuracies[-1]:.1%}")
    axes["filters"].axis("off")
    figure.colorbar(image, ax=axes["filters"], shrink=0.8, aspect=30)

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15, help="passes over the training images (default: 15)")
    parser.add_argument("--output", type=pathlib.Path, default=OUTPUT, help="the picture (default: %(default)s)")
    arguments = parser.parse_args()
    training, held_out = load()
    print(f"{len(training.images)} digits to train with, {len(held_out.images)} held out")

    conv_backprop.reset_run_counts()
    with conv_backprop.patched_tensorflow():
        ours = train("plugin", arguments.epochs, training, held_out)
    counts = {name: count for name, count in conv_backprop.run_counts().items() if count}
    stock = train("stock ", arguments.epochs, training, held_out)

    runs = ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
    difference = max(np.abs(a - b).max() for a, b in zip(ours.weights, stock.weights, strict=True))
    loss_difference = np.abs(np.subtract(ours.losses, stock.losses)).max()
    draw(ours, stock, arguments.output)
    print(f"\nfilter gradients computed by the plugin: {runs}  ({len(ours.losses)} steps of 3 convolutions)")
    print(f"largest difference from the stock training: {difference:.1e} in a weight, {loss_difference:.1e} in a loss")
    print(f"held-out accuracy {ours.accuracies[-1]:.2%} (stock {stock.accuracies[-1]:.2%})")
    print(f"trained in {ours.seconds:.1f} s (stock {stock.seconds:.1f} s)")
    print(f"picture: {arguments.output}")


if __name__ == "__main__":
    main()
