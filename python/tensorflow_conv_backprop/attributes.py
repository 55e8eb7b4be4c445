"""The attributes that Conv2D and its two gradient ops share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

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
