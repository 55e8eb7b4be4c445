"""The attributes that Conv2D and its two gradient ops share."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

_NCHW_TO_NHWC = (0, 2, 3, 1)


@dataclasses.dataclass(frozen=True)
class ConvAttributes:
    """Attributes of one 2-D convolution; strides, dilations and paddings in the order of `data_format`."""

    strides: tuple[int, ...]
    padding: str
    explicit_paddings: tuple[int, ...] = ()
    data_format: str = "NHWC"
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    use_cudnn_on_gpu: bool = True

    @classmethod
    def of(cls, op: Any) -> ConvAttributes:
        """Those of an op that is being differentiated, in a graph or on a tape."""

        def attribute(name: str, default: Any) -> Any:
            value = op.get_attr(name)
            return default if value is None else value  # a tape keeps the None that tf.nn.convolution passes

        return cls(
            strides=tuple(op.get_attr("strides")),
            padding=tf.compat.as_str(op.get_attr("padding")),
            explicit_paddings=tuple(attribute("explicit_paddings", ())),
            data_format=tf.compat.as_str(attribute("data_format", "NHWC")),
            dilations=tuple(attribute("dilations", (1, 1, 1, 1))),
            use_cudnn_on_gpu=bool(attribute("use_cudnn_on_gpu", True)),
        )

    @classmethod
    def of_arguments(
        cls,
        strides: int | Sequence[int] | None,
        padding: str | Sequence[Sequence[int]],
        data_format: str | None,
        dilations: int | Sequence[int] | None,
    ) -> ConvAttributes:
        """Those that the arguments of `tf.nn.conv2d` mean."""
        data_format = "NHWC" if data_format is None else data_format
        if data_format not in ("NHWC", "NCHW"):
            raise ValueError(f"data_format must be 'NHWC' or 'NCHW', got {data_format!r}")
        explicit_paddings: tuple[int, ...] = ()
        if isinstance(padding, str):
            if padding not in ("SAME", "VALID"):
                raise ValueError(f"padding must be 'SAME', 'VALID' or four pairs of integers, got {padding!r}")
        else:
            if not np.iterable(padding) or [np.size(pair) for pair in padding] != [2, 2, 2, 2]:
                raise ValueError(f"padding must be 'SAME', 'VALID' or four pairs of integers, got {padding!r}")
            explicit_paddings = integers("padding", [amount for pair in padding for amount in pair])
            padding = "EXPLICIT"
        return cls(
            strides=_per_dimension("strides", 1 if strides is None else strides, data_format),
            padding=padding,
            explicit_paddings=explicit_paddings,
            data_format=data_format,
            dilations=_per_dimension("dilations", 1 if dilations is None else dilations, data_format),
        )

    @property
    def channel_axis(self) -> int:
        return self.data_format.index("C")

    @property
    def dilated(self) -> bool:
        return any(dilation != 1 for dilation in self.dilations)

    def in_nhwc(self) -> ConvAttributes:
        """The same convolution of an input whose channels come last."""
        if self.data_format == "NHWC":
            return self
        pairs = list(zip(self.explicit_paddings[::2], self.explicit_paddings[1::2], strict=True))
        return dataclasses.replace(
            self,
            strides=_channels_last(self.strides),
            explicit_paddings=tuple(pad for pair in (_channels_last(pairs) if pairs else ()) for pad in pair),
            data_format="NHWC",
            dilations=_channels_last(self.dilations),
        )

    def as_arguments(self) -> dict[str, Any]:
        """Keyword arguments of the raw ops."""
        return {
            "strides": list(self.strides),
            "padding": self.padding,
            "explicit_paddings": list(self.explicit_paddings),
            "data_format": self.data_format,
            "dilations": list(self.dilations),
            "use_cudnn_on_gpu": self.use_cudnn_on_gpu,
        }


def _channels_last(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(values[i] for i in _NCHW_TO_NHWC)


def integers(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """The values of the argument `name` as Python's integers.

    Raises:
        TypeError: If they are no sequence of integers.
    """
    try:
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of integers, got {values!r}") from None


def int64s(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """As `integers`.

    Raises:
        TypeError: If they are no sequence of integers.
        ValueError: If one of them does not fit into 64 bits.
    """
    found = integers(name, values)
    if not all(-(2**63) <= value < 2**63 for value in found):
        raise ValueError(f"{name} must be 64-bit integers, got {list(found)}")
    return found


def _per_dimension(name: str, value: int | Sequence[int], data_format: str) -> tuple[int, ...]:
    """One, two or four integers, as four in the order of `data_format`."""
    values = integers(name, list(value) if np.iterable(value) else [value])
    if len(values) not in (1, 2, 4):
        raise ValueError(f"{name} must be 1, 2 or 4 integers, got {value!r}")
    if not all(1 <= size < 2**31 for size in values):
        raise ValueError(f"{name} must be positive and below 2^31, got {value!r}")
    if len(values) == 4:
        if values[data_format.index("N")] != 1 or values[data_format.index("C")] != 1:
            raise ValueError(f"{name} must be 1 for batch and channels, got {value!r} in {data_format}")
        return values
    height, width = values if len(values) == 2 else values * 2
    return (1, height, width, 1) if data_format == "NHWC" else (1, 1, height, width)
