"""`tf.nn.conv2d` with this plugin's gradients, for those who would rather not patch TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tensorflow_conv_backprop import adjoints
from tensorflow_conv_backprop.attributes import ConvAttributes


def _of_one_type(input: Any, filters: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Both as tensors. What is none yet takes the type of the other if that is one, else filters take the images'."""
    if tf.is_tensor(filters) and not tf.is_tensor(input):
        w = tf.convert_to_tensor(filters)
        return tf.convert_to_tensor(input, dtype_hint=w.dtype), w
    x = tf.convert_to_tensor(input)
    return x, tf.convert_to_tensor(filters, dtype_hint=x.dtype)


@tf.__internal__.dispatch.add_dispatch_support
def conv2d(
    input: tf.Tensor,
    filters: tf.Tensor,
    strides: int | Sequence[int] | None,
    padding: str | Sequence[Sequence[int]],
    data_format: str | None = "NHWC",
    dilations: int | Sequence[int] | None = None,
    name: str | None = None,
) -> tf.Tensor:
    """`tf.nn.conv2d` whose gradients, of any order, get their filter gradients from `conv2d_backprop_filter_v2`.

    On CPU it also runs where `tf.nn.conv2d` does not: in NCHW, in every type. An eager tape computes both gradients,
    even if only one is asked for; a graph, or `tf.nn.conv2d` under `patch_tensorflow`, only what is needed.

    >>> image, filters = tf.ones([1, 3, 3, 1]), tf.Variable(tf.ones([2, 2, 1, 1]))
    >>> with tf.GradientTape() as tape:
    ...     loss = tf.reduce_sum(conv2d(image, filters, strides=1, padding="VALID"))
    >>> tape.gradient(loss, filters)[..., 0, 0].numpy().tolist()
    [[4.0, 4.0], [4.0, 4.0]]

    Args:
        input: Images, `batch_shape + [height, width, channels]` in NHWC and `batch_shape + [channels, height, width]` in
            NCHW, `batch_shape` of rank 1 or more; half, bfloat16, float32 or float64.
        filters: `[filter_height, filter_width, channels / groups, out_channels]`, of the type of `input`.
        strides: One positive integer, two (height, width), or four in the order of `data_format`; None is 1.
        padding: `"SAME"`, `"VALID"`, or four pairs of rows or columns of zeros to add before and after each dimension, in
            the order of `data_format`; `[0, 0]` for batch and channels.
        data_format: `"NHWC"`, which None also means, or `"NCHW"`.
        dilations: As `strides`.
        name: A name for the operation.

    Returns:
        The convolved images, `batch_shape + [out_height, out_width, out_channels]` in NHWC and
        `batch_shape + [out_channels, out_height, out_width]` in NCHW, of the type of `input`.

    Raises:
        ValueError, TypeError: If an argument is not of a form described above. While a graph is built, ValueError also
            if shapes do not match.
        tf.errors.InvalidArgumentError: If shapes do not match, or a padding is negative.
    """
    attributes = ConvAttributes.of_arguments(strides, padding, data_format, dilations)
    with tf.name_scope(name or "conv2d"):
        x, w = _of_one_type(input, filters)
        if x.shape.rank is None or x.shape.rank < 5:
            return adjoints.convolution(x, w, attributes)
        batch_shape, image_shape = tf.shape(x)[:-3], tf.shape(x)[-3:]
        images = tf.reshape(x, tf.concat([[-1], image_shape], axis=0))
        y = adjoints.convolution(images, w, attributes)
        return tf.reshape(y, tf.concat([batch_shape, tf.shape(y)[1:]], axis=0))
