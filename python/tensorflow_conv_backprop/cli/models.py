"""The convolutions of three well-known networks for images of 224 x 224 pixels, all padded SAME."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Layer(NamedTuple):
    """A convolution of square images by square filters; `image` is the height of its input."""

    image: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    groups: int = 1

    def __str__(self) -> str:
        stride = f"/{self.stride}" if self.stride > 1 else ""
        groups = f" g{self.groups}" if self.groups > 1 else ""
        return f"{self.kernel}x{self.kernel}{stride} {self.channels}>{self.filters}{groups} @{self.image}"


def _resnet50() -> Iterator[Layer]:
    """Version 1.5, whose 3 x 3 convolutions have the strides."""
    yield Layer(224, 3, 64, kernel=7, stride=2)
    image, channels = 56, 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            stride = 2 if block == 0 and width > 64 else 1
            yield Layer(image, channels, width, kernel=1)
            yield Layer(image, width, width, kernel=3, stride=stride)
            if block == 0:
                yield Layer(image, channels, 4 * width, kernel=1, stride=stride)
            image, channels = image // stride, 4 * width
            yield Layer(image, width, channels, kernel=1)


def _vgg16() -> Iterator[Layer]:
    image, channels = 224, 3
    for width, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            yield Layer(image, channels, width, kernel=3)
            channels = width
        image //= 2


def _mobilenet_v2() -> Iterator[Layer]:
    yield Layer(224, 3, 32, kernel=3, stride=2)
    image, channels = 112, 32
    for factor, width, blocks, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            wide = factor * channels
            if factor > 1:
                yield Layer(image, channels, wide, kernel=1)
            yield Layer(image, wide, wide, kernel=3, stride=stride, groups=wide)
            image, channels = image // stride, width
            yield Layer(image, wide, channels, kernel=1)
    yield Layer(image, channels, 1280, kernel=1)


MODELS: dict[str, Callable[[], Iterator[Layer]]] = {
    "resnet50": _resnet50,
    "vgg16": _vgg16,
    "mobilenet_v2": _mobilenet_v2,
}


def layers(model: str) -> dict[Layer, int]:
    """The different convolutions of a model, in the order they come, and how often each occurs."""
    return collections.Counter(MODELS[model]())
