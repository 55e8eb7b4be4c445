"""A 2-D convolution and its two adjoints, each differentiated through the other two.

With T(x, w, y) = sum of conv(x, w) * y, the functions below are the three partial derivatives of T. T is linear in each
argument, so every derivative of one of them, of any order, is again one of them. That is what makes the registered
gradients work to any order, also where TensorFlow's own kernels do not.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.ops import conv2d_backprop_filter_v2

_Gradients = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def convolution(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """conv(x, w): the derivative of T with respect to y."""
    if _stock_differentiates(x, x.shape[attributes.channel_axis], w, attributes):
        return tf.raw_ops.Conv2D(input=x, filter=w, **attributes.as_arguments())
    return differentiable_convolution(x, w, attributes)


def differentiable_convolution(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """conv(x, w) whose gradients are the functions of this module, whatever is registered for Conv2D."""

    @tf.custom_gradient
    def function(x: tf.Tensor, w: tf.Tensor) -> tuple[tf.Tensor, _Gradients]:
        def gradients(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return input_gradient(tf.shape(x), w, dy, attributes), filter_gradient(x, w, dy, attributes)

        return _forward(x, w, attributes), gradients

    return function(x, w)


def input_gradient(x_shape: tf.Tensor, w: tf.Tensor, dy: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """The derivative of T with respect to x, of shape `x_shape` (int32, 4 elements)."""
    channels = tf.get_static_value(x_shape, partial=True)
    channels = None if channels is None else channels[attributes.channel_axis]
    if _stock_differentiates(dy, channels, w, attributes):
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=x_shape, filter=w, out_backprop=dy, **attributes.as_arguments()
        )

    @tf.custom_gradient
    def function(w: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, _Gradients]:
        def gradients(dx: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return filter_gradient(dx, w, dy, attributes), convolution(dx, w, attributes)

        return _input_gradient_by_convolution(x_shape, w, dy, attributes), gradients

    return function(w, dy)


def filter_gradient(x: tf.Tensor, w: tf.Tensor, dy: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    """The derivative of T with respect to w; of `w` only the shape matters."""
    # A process without the plugin quotes the name when it complains that the op has no kernel.
    name = "tensorflow_conv_backprop/filter_gradient"
    return conv2d_backprop_filter_v2(x, w, dy, **attributes.as_arguments(), name=name)


def _stock_differentiates(x: tf.Tensor, channels: int | None, w: tf.Tensor, attributes: ConvAttributes) -> bool:
    """Whether TensorFlow has kernels for this convolution and for all of its derivatives on the device of `x`.

    On CPU that is NHWC without dilations and groups. oneDNN, which TensorFlow uses by default on processors with
    AVX-512 only, adds the rest for float32 unless the padding is explicit (measured on 2.21).
    """
    if not _on_cpu(x):
        return True
    if _pywrap_util_port.IsMklEnabled() and x.dtype == tf.float32 and attributes.padding != "EXPLICIT":
        return True
    ungrouped = channels is not None and channels == w.shape[2]
    return attributes.data_format == "NHWC" and not attributes.dilated and ungrouped


def _on_cpu(x: tf.Tensor) -> bool:
    # A tensor of a graph has no device until the graph is placed: where there is a GPU, it will be placed there.
    return "CPU" in x.device.upper() if x.device else not tf.config.list_physical_devices("GPU")


def _forward(x: tf.Tensor, w: tf.Tensor, attributes: ConvAttributes) -> tf.Tensor:
    if attributes.data_format == "NHWC" or not _on_cpu(x):
        return tf.raw_ops.Conv2D(input=x, filter=w, **attributes.as_arguments())
    y = tf.raw_ops.Conv2D(input=_to_nhwc(x), filter=w, **attributes.in_nhwc().as_arguments())
    return _to_nchw(y)


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

    stride = tf.constant(attributes.strides[1:3])
    dilation = tf.constant(attributes.dilations[1:3])
    reach = (tf.shape(w)[:2] - 1) * dilation  # from the first to the last tap
    padding = _padding_before(x_shape[1:3], reach + 1, tf.shape(dy)[1:3], stride, attributes)
    # Output pixel i reads the window of the zero-spread dy that starts at i + padding - reach.
    windows = _crop_or_pad(_spread(dy, attributes.strides), begin=padding - reach, size=x_shape[1:3] + reach)
    return tf.raw_ops.Conv2D(
        input=windows,
        filter=_turn(w, groups=x_shape[3] // tf.shape(w)[2]),
        strides=[1, 1, 1, 1],
        padding="VALID",
        dilations=attributes.dilations,
    )


def _padding_before(
    size: tf.Tensor, window: tf.Tensor, out_size: tf.Tensor, stride: tf.Tensor, attributes: ConvAttributes
) -> tf.Tensor:
    """Rows above and columns to the left that the convolution adds to its input."""
    if attributes.padding == "VALID":
        return tf.constant([0, 0])
    if attributes.padding == "EXPLICIT":
        return tf.constant(attributes.explicit_paddings[2:6:2])
    return tf.maximum((out_size - 1) * stride + window - size, 0) // 2


def _spread(x: tf.Tensor, strides: tuple[int, ...]) -> tf.Tensor:
    """Puts stride - 1 zeros after every row and column."""
    _, stride_height, stride_width, _ = strides
    if stride_height == stride_width == 1:
        return x
    batch, height, width, channels = tf.unstack(tf.shape(x), num=4)
    x = tf.reshape(x, [batch, height, 1, width, 1, channels])
    x = tf.pad(x, [[0, 0], [0, 0], [0, stride_height - 1], [0, 0], [0, stride_width - 1], [0, 0]])
    return tf.reshape(x, [batch, height * stride_height, width * stride_width, channels])


def _crop_or_pad(x: tf.Tensor, begin: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Rows and columns [begin, begin + size) of `x`, zeros where it has none."""
    before = tf.maximum(-begin, 0)
    after = tf.maximum(begin + size - tf.shape(x)[1:3], 0)
    x = tf.pad(x, tf.pad(tf.stack([before, after], axis=1), [[1, 1], [0, 0]]))
    begin = tf.maximum(begin, 0)
    return x[:, begin[0] : begin[0] + size[0], begin[1] : begin[1] + size[1], :]


def _turn(w: tf.Tensor, groups: tf.Tensor) -> tf.Tensor:
    """The filter turned by 180 degrees, input and output channels exchanged inside each group."""
    height, width, channels, out_channels = tf.unstack(tf.shape(w), num=4)
    w = tf.reshape(tf.reverse(w, [0, 1]), [height, width, channels, groups, out_channels // groups])
    return tf.reshape(tf.transpose(w, [0, 1, 4, 3, 2]), [height, width, out_channels // groups, groups * channels])


def _to_nhwc(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [0, 2, 3, 1])


def _to_nchw(x: tf.Tensor) -> tf.Tensor:
    return tf.transpose(x, [0, 3, 1, 2])
