"""One filter gradient: its shapes, data for it, and its definition in float64."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.ops import conv2d_backprop_filter_v2
from tensorflow_conv_backprop.planning import Plan, plan


@dataclasses.dataclass(frozen=True)
class Problem:
    """Shapes as TensorFlow writes them; `dtype` is the name of a type."""

    input_shape: tuple[int, ...]
    filter_shape: tuple[int, ...]
    attributes: ConvAttributes
    dtype: str = "float32"

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of out_backprop.

        Raises:
            ValueError: If TensorFlow finds that the shapes do not fit together.
        """
        with tf.Graph().as_default():
            x, w = (tf.compat.v1.placeholder(self.dtype, shape) for shape in (self.input_shape, self.filter_shape))
            y = tf.raw_ops.Conv2D(input=x, filter=w, **self.attributes.as_arguments())
        return tuple(y.shape.as_list())

    @property
    def groups(self) -> int:
        return self.input_shape[self.attributes.channel_axis] // self.filter_shape[2]

    @property
    def flops(self) -> int:
        """Multiplications and additions of the definition, those with the padding's zeros included."""
        pixels = int(np.prod(self.output_shape)) // self.filter_shape[3]
        return 2 * pixels * int(np.prod(self.filter_shape))

    def plan(self, algorithm: str | None = None) -> Plan:
        """`plan` for this problem, with the same errors."""
        attributes = self.attributes
        return plan(
            self.input_shape,
            self.filter_shape,
            attributes.strides,
            attributes.padding,
            self.dtype,
            attributes.explicit_paddings,
            attributes.data_format,
            attributes.dilations,
            algorithm,
        )

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Normally distributed input and out_backprop, the same every time."""
        generator = np.random.default_rng(0)
        drawn = np.float64 if self.dtype == "float64" else np.float32
        x, dy = (generator.standard_normal(shape, drawn) for shape in (self.input_shape, self.output_shape))
        dtype = tf.as_dtype(self.dtype).as_numpy_dtype
        return x.astype(dtype), dy.astype(dtype)

    def filter(self) -> tf.Tensor:
        """A tensor of the filter's shape and type, which is all that the op asks of it."""
        return tf.zeros(self.filter_shape, self.dtype)

    def filter_gradient(self, x: Any, filter: tf.Tensor, dy: Any) -> tf.Tensor:
        """The op's own result, on the current device."""
        return conv2d_backprop_filter_v2(x, filter, dy, **self.attributes.as_arguments())

    def definition(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """The filter gradient in float64, tap by tap."""
        attributes = self.attributes.in_nhwc()
        if self.attributes.data_format == "NCHW":
            x, dy = np.moveaxis(x, 1, 3), np.moveaxis(dy, 1, 3)
        (_, *strides, _), (_, *dilations, _) = attributes.strides, attributes.dilations
        filter_height, filter_width, channels, filters = self.filter_shape
        pads = [
            _padding(axis, size, taps, out, attributes)
            for axis, (size, taps, out) in enumerate(
                zip(x.shape[1:3], self.filter_shape[:2], dy.shape[1:3], strict=True)
            )
        ]
        x = np.pad(x.astype(np.float64), [(0, 0), *pads, (0, 0)])
        dy = dy.astype(np.float64).reshape(*dy.shape[:3], self.groups, filters // self.groups)
        _, out_height, out_width, _, _ = dy.shape
        dw = np.empty(self.filter_shape)
        for kh in range(filter_height):
            for kw in range(filter_width):
                seen = x[:, kh * dilations[0] :: strides[0], kw * dilations[1] :: strides[1]][
                    :, :out_height, :out_width
                ]
                seen = seen.reshape(*seen.shape[:3], self.groups, channels)
                dw[kh, kw] = np.einsum("nhwgc,nhwgf->cgf", seen, dy, optimize=True).reshape(channels, filters)
        return dw


def _padding(axis: int, size: int, taps: int, out: int, attributes: ConvAttributes) -> tuple[int, int]:
    """Zeros before and after the pixels of an axis (0: rows, 1: columns), as far as any tap sees them."""
    reach = (out - 1) * attributes.strides[1 + axis] + (taps - 1) * attributes.dilations[1 + axis] + 1
    missing = max(reach - size, 0)
    before = 0 if attributes.padding == "VALID" else missing // 2
    if attributes.padding == "EXPLICIT":
        before = attributes.explicit_paddings[2 + 2 * axis]
    return before, max(missing - before, 0)
