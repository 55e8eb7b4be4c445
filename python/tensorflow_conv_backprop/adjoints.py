"""A 2-D convolution and its two adjoints, each differentiated through the other two.

With T(x, w, y) = sum of conv(x, w) * y, the functions below are the three partial derivatives of T. T is linear in each
argument, so every derivative of one of them, of any order, is again one of them. That is what makes the registered
gradients work to any order, also where TensorFlow's own kernels do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.util import _pywrap_util_port

from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.differentiation import with_gradients


def convolution(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """conv(x, w): the derivative of T with respect to y."""

    def gradients(inputs: Sequence[tf.Tensor], dy: tf.Tensor) -> list[tf.Tensor]:
        x, w = inputs
        return [input_gradient(x, w, dy, attributes), filter_gradient(x, w, dy, attributes)]

    return with_gradients(lambda: _forward(x, w, attributes), [x, w], gradients)


def input_gradient(x: tf.Tensor, w: tf.Tensor, dy: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """The derivative of T with respect to x, of which only the shape matters."""

    def value() -> tf.Tensor:
        x_shape = tf.shape(x)
        if _stock_input_gradient_runs(x, w, attributes):
            return tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x_shape, filter=w, out_backprop=dy, **attributes.as_arguments()
            )
        return _input_gradient_by_convolution(x_shape, w, dy, attributes)

    def gradients(inputs: Sequence[tf.Tensor], dx: tf.Tensor) -> list[tf.Tensor]:
        w, dy = inputs
        return [filter_gradient(dx, w, dy, attributes), convolution(dx, w, attributes)]

    return with_gradients(value, [w, dy], gradients)


def filter_gradient(x: tf.Tensor, w: tf.Tensor, dy: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """The derivative of T with respect to w; of `w` only the shape matters."""
    # A process without the plugin quotes the name when it complains that the op has no kernel.
    name = "tensorflow_conv_backprop/filter_gradient"
    return tf.raw_ops.Conv2DBackpropFilterV2(input=x, filter=w, out_backprop=dy, **attributes.as_arguments(), name=name)


def _stock_input_gradient_runs(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> bool:
    """Whether TensorFlow has a kernel for the input gradient of this convolution on the device of `x`.

    On CPU that is NHWC without dilations and groups. oneDNN, which TensorFlow uses by default on processors with VNNI
    or AMX only, adds the rest for float32 unless the padding is explicit (measured on 2.21).
    """
    if not _on_cpu(x):
        return True
    if _pywrap_util_port.IsMklEnabled() and x.dtype == tf.float32 and attributes.padding != "EXPLICIT":
        return True
    channels = x.shape[attributes.channel_axis]
    ungrouped = channels is not None and channels == w.shape[2]
    return attributes.data_format == "NHWC" and not attributes.dilated and ungrouped


def _on_cpu(x: tf.Tensor) -> bool:
    if not tf.config.get_visible_devices("GPU"):
        return True
    # tf.device decides where an op runs, whatever device its inputs are on. A tensor of a graph has none until the graph
    # is placed: then it will be placed on the GPU.
    device = context.context().device_name or x.device or ""
    return bool(tf.DeviceSpec.from_string(device).device_type == "CPU")


def _forward(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    if not _on_cpu(x):
        return tf.raw_ops.Conv2D(input=x, filter=w, **attributes.as_arguments())
    if attributes.data_format == "NCHW":
        return _to_nchw(_forward(_to_nhwc(x), w, attributes.in_nhwc()))
    by_onednn = _pywrap_util_port.IsMklEnabled() and x.dtype != tf.float64
    if by_onednn and x.shape.rank in (4, None) and w.shape.rank in (4, None):
        return _forward_by_onednn(x, w, attributes)
    return tf.raw_ops.Conv2D(input=x, filter=w, **attributes.as_arguments())


def _forward_by_onednn(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """In NHWC; also where nothing is summed, which oneDNN's kernel refuses or gives the shape of x (TensorFlow 2.21)."""

    def convolve() -> tf.Tensor:
        return tf.raw_ops.Conv2D(input=x, filter=w, **attributes.as_arguments())

    if x.shape.rank == 4 and x.shape[1:].is_fully_defined() and w.shape.is_fully_defined():
        batch, *x_sizes = x.shape
        sizes = [1 if batch is None else batch, *x_sizes], [*w.shape]
        y_sizes = _output_sizes(*sizes, attributes, max)
        if _sums_nothing(*sizes, y_sizes, max):
            return tf.zeros([tf.shape(x)[0], *y_sizes[1:]], x.dtype)
        return tf.reshape(convolve(), [-1, *y_sizes[1:]]) if batch is None else convolve()
    sizes = tf.unstack(tf.shape(x, tf.int64), 4), tf.unstack(tf.shape(w, tf.int64), 4)
    y_sizes = _output_sizes(*sizes, attributes, tf.maximum)
    nothing = _sums_nothing(*sizes, y_sizes, tf.maximum)
    inferred: list[tf.TensorShape] = []

    def inferring_convolve() -> tf.Tensor:
        y = convolve()
        inferred.append(y.shape)
        return y

    y = tf.cond(nothing, lambda: tf.zeros(y_sizes, x.dtype), inferring_convolve)
    if inferred:  # which tf.cond does not keep, because the other branch does not know it
        y.set_shape(inferred[0])
    return y


def _output_sizes(
    x: Sequence[Any], w: Sequence[Any], attributes: ConvAttributes, maximum: Callable[[Any, int], Any]
) -> list[Any]:
    """The shape of the convolution's output, from those of its arguments: integers, or scalars and tf.maximum."""
    sizes = []
    for axis in (1, 2):
        stride, dilation = attributes.strides[axis], attributes.dilations[axis]
        if attributes.padding == "SAME":
            sizes.append(-(-x[axis] // stride))
            continue
        padding = sum(attributes.explicit_paddings[2 * axis : 2 * axis + 2])
        room = x[axis] + padding - (w[axis - 1] - 1) * dilation - 1 + stride
        sizes.append(maximum(room, 0) // stride - maximum(-room, 0) // stride)  # towards zero, as Conv2D divides
    return [x[0], *sizes, w[3]]


def _sums_nothing(x: Sequence[Any], w: Sequence[Any], y: Sequence[Any], maximum: Callable[[Any, int], Any]) -> Any:
    """Whether a convolution of these shapes has no products, or no output. Not if Conv2D has an error for them."""
    channels = maximum(w[2], 1)
    remainder = x[3] % channels + w[3] % maximum(x[3] // channels, 1)
    valid = (w[0] > 0) & (w[1] > 0) & (w[2] > 0) & (remainder < 1) & (y[1] > -1) & (y[2] > -1)
    return valid & (x[0] * x[1] * x[2] * x[3] * y[1] * y[2] * y[3] < 1)


def _input_gradient_by_convolution(
    x_shape: tf.Tensor, w: tf.Tensor, dy: tf.Tensor, attributes: ConvAttributes
) -> tf.Tensor:
    """The input gradient from forward convolutions alone, which run in NHWC for every type, dilation and group count.

    It is a convolution with stride 1 of dy, with stride - 1 zeros put between its elements, and the filter turned by
    180 degrees, with input and output channels exchanged inside each group.
    """
    if attributes.data_format == "NCHW":
        nhwc_shape = tf.gather(x_shape, [0, 2, 3, 1])
        return _to_nchw(_input_gradient_by_convolution(nhwc_shape, w, _to_nhwc(dy), attributes.in_nhwc()))
    if dy.dtype in (tf.float16, tf.bfloat16):  # sums in float32, as the op itself does
        dx = _input_gradient_by_convolution(x_shape, tf.cast(w, tf.float32), tf.cast(dy, tf.float32), attributes)
        return tf.cast(dx, dy.dtype)

    math, (x_sizes, w_sizes, dy_sizes) = _sizes(x_shape, tf.shape(w), tf.shape(dy))
    if math is np and 0 in (x_sizes.prod(), dy_sizes.prod()):
        return tf.zeros(x_shape, dy.dtype)
    stride, dilation = (np.array(n[1:3], np.int64) for n in (attributes.strides, attributes.dilations))
    size, taps, out_size = x_sizes[1:3], w_sizes[:2], dy_sizes[1:3]
    padding = _padding_before(size, (taps - 1) * dilation + 1, out_size, stride, attributes, math)
    # The taps that meet a pixel at all, or one if none does: a wide dilation takes the others far out of the image.
    first = math.minimum(math.maximum(-(((out_size - 1) * stride - padding) // dilation), 0), taps - 1)
    end = math.maximum(math.minimum((size - 1 + padding) // dilation + 1, taps), first + 1)
    w = w[first[0] : end[0], first[1] : end[1]]
    reach = (end - first - 1) * dilation  # from the first of them to the last
    groups = math.maximum(x_sizes[3] // w_sizes[2], 1)
    filters = math.maximum(w_sizes[3], groups)
    if math is tf:  # there may be none, for which Conv2D has no kernel
        missing = [[0, 0], [0, 0], [0, 0], [0, filters - w_sizes[3]]]
        w, dy = tf.pad(w, missing), tf.pad(dy, missing)
    if max(attributes.strides) == 1:
        spread, spread_size = dy, out_size
    else:
        step = math.where(out_size > 1, stride, 1)  # one pixel has no neighbour, however far
        spread, spread_size = _spread(dy, [dy_sizes[0], out_size[0], out_size[1], filters], step), out_size * step
    # Output pixel i reads the window of the spread dy that starts at i + start; if no tap meets the image, one beside it.
    start = padding - first * dilation - reach
    start = math.minimum(math.maximum(start, -(size + reach)), spread_size)
    before = math.maximum(-start, 0)
    after = math.maximum(start + reach + size - spread_size, 0)
    windows = tf.pad(spread, [[0, 0], [before[0], after[0]], [before[1], after[1]], [0, 0]])
    start = start + before
    stop = start + size + reach
    dx = _forward(
        windows[:, start[0] : stop[0], start[1] : stop[1]],
        _turn(w, w_sizes[2], groups, filters // groups),
        ConvAttributes((1, 1, 1, 1), "VALID", dilations=attributes.dilations),
    )
    return dx if math is np else dx[..., : x_sizes[3]]


def _sizes(*shapes: tf.Tensor) -> tuple[Any, list[Any]]:
    """The shapes as int64, and the module that computes with them.

    NumPy's arrays where all are known: the 50 operations on them would take several times as long as a small convolution.
    """
    known = [tf.get_static_value(shape) for shape in shapes]
    if any(shape is None for shape in known):
        return tf, [tf.cast(shape, tf.int64) for shape in shapes]
    return np, [shape.astype(np.int64) for shape in known]


def _padding_before(size: Any, window: Any, out_size: Any, stride: Any, attributes: ConvAttributes, math: Any) -> Any:
    """Rows above and columns to the left that the convolution adds to its input."""
    if attributes.padding == "SAME":
        return math.maximum((out_size - 1) * stride + window - size, 0) // 2
    return np.array(attributes.explicit_paddings[2:6:2] or (0, 0), np.int64)


def _spread(x: tf.Tensor, shape: list[Any], step: Any) -> tf.Tensor:
    """Puts step - 1 zeros behind every row and column of x, which is of this shape."""
    batch, height, width, channels = shape
    rows = _reshape(x, [batch * height, 1, width, channels])
    rows = tf.pad(rows, [[0, 0], [0, step[0] - 1], [0, 0], [0, (step[1] - 1) * channels]])
    return _reshape(rows, [batch, height * step[0], width * step[1], channels])


def _reshape(x: tf.Tensor, shape: list[Any]) -> tf.Tensor:
    # Where XLA does not know a size while it compiles, it takes shapes in int32 alone.
    return tf.reshape(x, tf.cast(tf.stack(shape), tf.int32))


def _turn(w: tf.Tensor, channels: Any, groups: Any, filters: Any) -> tf.Tensor:
    """The filter turned by 180 degrees, input and output channels exchanged inside each group.

    A group has so many `channels` and `filters`.
    """
    shape = tf.shape(w, tf.int64)
    w = tf.reshape(tf.reverse(w, [0, 1]), [shape[0], shape[1], channels, groups, filters])
    return tf.reshape(tf.transpose(w, [0, 1, 4, 3, 2]), [shape[0], shape[1], filters, groups * channels])


def _to_nhwc(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [0, 2, 3, 1])


def _to_nchw(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [0, 3, 1, 2])
