"""The problems that are checked: every dtype x layout x alignment x stride x dilation x padding x group class."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from problem import DTYPES, LAYOUTS, Problem, make_problem

# (in, out) channels of a group, by the widest load that both are multiples of.
ALIGNED_CHANNELS = {8: (16, 24), 4: (12, 20), 2: (6, 10), 1: (3, 5)}
FOLDED_CHANNELS = (3, 16)  # fewer than the widest load takes, but enough of a filter's row together
# groups, and the channels of one where they are not those of the alignment class
GROUP_CLASSES = {"one": (1, None), "wide": (2, (16, 32)), "thin": (6, (4, 4)), "depthwise": (40, (1, 1))}
STRIDES = ((1, 1), (2, 2), (3, 1))
DILATIONS = ((1, 1), (2, 3))
PADDINGS = {"valid": ((0, 0), (0, 0)), "same": ((1, 1), (1, 1)), "uneven": ((0, 2), (3, 1))}
# Split-K slices, 0 for as many as the planner wants; 39 are two chains of sums.
SLICES = (0, 1, 7, 39)
# Of kernels that can sum them in clusters, in these and without, by Choice's numbers for the two.
CLUSTERED_SLICES = ((2, 1), (7, 1), (8, 1), (7, 2))


def contract_problems() -> Iterator[Problem]:
    """Small ones, for exhaustiveness. A run that is cut short has met every type."""
    for layout, stride, dilation, padding, dtype in itertools.product(
        LAYOUTS, STRIDES, DILATIONS, PADDINGS.values(), DTYPES
    ):
        window = {"batch": 3, "size": (11, 13), "filter_size": (3, 3), "stride": stride, "dilation": dilation}
        for channels in (*ALIGNED_CHANNELS.values(), FOLDED_CHANNELS):
            yield make_problem(dtype, group_channels=channels, padding=padding, layout=layout, **window)
        for groups, channels in list(GROUP_CLASSES.values())[1:]:
            yield make_problem(dtype, group_channels=channels, groups=groups, padding=padding, layout=layout, **window)


def wide_problems() -> Iterator[Problem]:
    """Larger than every tile, in each dimension, with remainders."""
    for dtype in DTYPES:
        yield make_problem(
            dtype, batch=5, size=(29, 31), filter_size=(3, 3), group_channels=(72, 264), padding=((1, 1), (1, 1))
        )
        yield make_problem(dtype, batch=9, size=(33, 35), filter_size=(1, 1), group_channels=(264, 136))
        yield make_problem(
            dtype, batch=4, size=(64, 64), filter_size=(7, 7), group_channels=(3, 64), stride=(2, 2),
            padding=((2, 3), (2, 3)),
        )  # fmt: skip


def dispatched_problems(dtype: str, layout: str) -> Iterator[Problem]:
    """What cuDNN takes too, the smallest first."""
    same = ((1, 1), (1, 1))
    window = {"filter_size": (3, 3), "layout": layout}
    yield make_problem(dtype, batch=2, size=(8, 8), group_channels=(16, 32), padding=same, **window)
    yield make_problem(dtype, batch=2, size=(9, 8), group_channels=(16, 8), groups=4, padding=same, **window)
    yield make_problem(dtype, batch=3, size=(15, 17), group_channels=(8, 24), stride=(2, 2), padding=same, **window)
    yield make_problem(dtype, batch=3, size=(15, 17), group_channels=(8, 24), dilation=(2, 3), **window)
    # 200,704 pixels: long sums.
    yield make_problem(dtype, batch=4, size=(224, 224), group_channels=(8, 16), padding=same, **window)


def captured_problems(dtype: str) -> Iterator[Problem]:
    """Those that no other check dispatches, so that nothing is known of them when they are first captured."""
    window = {"filter_size": (3, 3), "padding": PADDINGS["same"]}
    yield make_problem(dtype, batch=2, size=(10, 9), group_channels=(16, 32), **window)
    # On Hopper, in half, a cluster sums the slices of the first, and all blocks those of the second.
    yield make_problem(dtype, batch=8, size=(14, 14), group_channels=(256, 256), **window)
    yield make_problem(dtype, batch=4, size=(64, 64), group_channels=(64, 64), **window)


def non_finite_problems() -> Iterator[Problem]:
    """Padded ones."""
    for dtype, layout in itertools.product(DTYPES, LAYOUTS):
        yield make_problem(
            dtype, batch=2, size=(9, 9), filter_size=(3, 3), group_channels=(16, 16), padding=PADDINGS["same"],
            layout=layout,
        )  # fmt: skip


# (input size, in channels, out channels, filter size, stride, how often ResNet-50 has it)
_RESNET50 = (
    (224, 3, 64, 7, 2, 1),
    (56, 64, 64, 1, 1, 1),
    (56, 64, 64, 3, 1, 3),
    (56, 64, 256, 1, 1, 4),
    (56, 256, 64, 1, 1, 2),
    (56, 256, 128, 1, 1, 1),
    (56, 128, 128, 3, 2, 1),
    (56, 256, 512, 1, 2, 1),
    (28, 128, 512, 1, 1, 4),
    (28, 512, 128, 1, 1, 3),
    (28, 128, 128, 3, 1, 3),
    (28, 512, 256, 1, 1, 1),
    (28, 256, 256, 3, 2, 1),
    (28, 512, 1024, 1, 2, 1),
    (14, 256, 1024, 1, 1, 6),
    (14, 1024, 256, 1, 1, 5),
    (14, 256, 256, 3, 1, 5),
    (14, 1024, 512, 1, 1, 1),
    (14, 512, 512, 3, 2, 1),
    (14, 1024, 2048, 1, 2, 1),
    (7, 512, 2048, 1, 1, 3),
    (7, 2048, 512, 1, 1, 2),
    (7, 512, 512, 3, 1, 2),
)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A problem to be timed."""

    name: str
    problem: Problem


@dataclasses.dataclass(frozen=True)
class Network:
    """Layers in one arithmetic and with one batch."""

    dtype: str
    tf32: bool  # may round float32 to it
    batch: int
    layers: list[Layer]


def _layer(dtype: str, batch: int, row: tuple[int, ...]) -> Layer:
    size, channels, filters, window, stride = row[:5]
    half = window // 2
    problem = make_problem(
        dtype,
        batch=batch,
        size=(size, size),
        filter_size=(window, window),
        group_channels=(channels, filters),
        stride=(stride, stride),
        padding=((half, half), (half, half)),
    )
    return Layer(f"{size}x{size} {channels}->{filters} {window}x{window}/{stride}", problem)


def resnet50(dtype: str, tf32: bool, batch: int) -> Network:
    """Every different convolution, NHWC, padded alike on both sides."""
    return Network(dtype, tf32, batch, [_layer(dtype, batch, row) for row in _RESNET50])


def all_problems() -> list[Problem]:
    return [*wide_problems(), *contract_problems()]


def all_networks() -> list[Network]:
    arithmetics = (("float16", False), ("bfloat16", False), ("float32", True), ("float32", False))
    return [resnet50(dtype, tf32, batch) for dtype, tf32 in arithmetics for batch in (32, 256)]


def few_problems() -> list[Problem]:
    """Of every kernel one or two: what a sanitizer, or the host, gets through in minutes."""
    # Prime to the number of each class, so that all of them are met, and every type meets every kind of channels.
    return list(contract_problems())[::35]


def few_networks() -> list[Network]:
    """Small enough for the host."""
    layers = [_layer("float32", 1, (7, 16, channels, 3, 1)) for channels in (8, 24)]
    return [Network("float32", tf32, 1, layers) for tf32 in (True, False)]


def resnet50_convolutions() -> int:
    """Convolutions in the network, to check the table above by."""
    return sum(count for *_, count in _RESNET50)
