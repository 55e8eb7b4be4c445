"""How `tf.vectorized_map` and `jacobian` run the op for a whole loop at once; registered on import."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.ops import conv2d_backprop_filter_v2


@pfor.RegisterPFor("Conv2DBackpropFilterV2")
def convert(pfor_input: Any) -> Any:
    """One op for all iterations: channels of different iterations do not meet, so iterations become channels.

    Where only out_backprop differs between iterations, they become output channels of one wider filter; where only the
    input differs, input channels; where both do, groups.
    """
    attributes = ConvAttributes.of(pfor_input.op)
    length = pfor_input.pfor.loop_len_vector[0]
    known = tf.get_static_value(pfor_input.pfor.loop_len_vector)
    (x, x_differs, _), (w, w_differs, _), (dy, dy_differs, _) = pfor_input.inputs
    filter_shape = tf.shape(w)[1:] if w_differs else tf.shape(w)
    iterations = length
    if known is None or known[0] == 0:  # a filter needs channels: one iteration over zeros stands for none
        iterations = tf.maximum(length, 1)
        missing = [[0, iterations - length], [0, 0], [0, 0], [0, 0], [0, 0]]
        x = tf.pad(x, missing) if x_differs else x
        dy = tf.pad(dy, missing) if dy_differs else dy
    groups = tf.maximum(tf.shape(x)[attributes.channel_axis + int(x_differs)] // tf.maximum(filter_shape[2], 1), 1)

    if dy_differs:
        groups = 1 if x_differs else groups
        dy = _into_channels(dy, attributes.channel_axis, groups)
        x = _into_channels(x, attributes.channel_axis, groups) if x_differs else x
        wide_shape = filter_shape * [1, 1, 1, iterations]
        dw = conv2d_backprop_filter_v2(x, tf.zeros(wide_shape, x.dtype), dy, **attributes.as_arguments())
        return pfor.wrap(_out_of_channels(dw, 3, groups, iterations)[:length], True)
    if x_differs:
        x = _into_channels(x, attributes.channel_axis, groups)
        wide_shape = filter_shape * [1, 1, iterations, 1]
        dw = conv2d_backprop_filter_v2(x, tf.zeros(wide_shape, x.dtype), dy, **attributes.as_arguments())
        return pfor.wrap(_out_of_channels(dw, 2, 1, iterations)[:length], True)
    return pfor.wrap(
        conv2d_backprop_filter_v2(x, tf.zeros(filter_shape, x.dtype), dy, **attributes.as_arguments()), False
    )


def _into_channels(x: tf.Tensor, channel_axis: int, groups: tf.Tensor | int) -> tf.Tensor:
    """Of `[iterations, ...]` with C channels, `[...]` with channels in the order (groups, iterations, C / groups)."""
    shape = tf.unstack(tf.shape(x), num=5)
    iterations, image = shape[0], shape[1:]
    before, channels, after = image[:channel_axis], image[channel_axis], image[channel_axis + 1 :]
    x = tf.reshape(x, [iterations, *before, groups, channels // groups, *after])
    order = list(range(6))
    order.insert(channel_axis + 1, order.pop(0))
    return tf.reshape(tf.transpose(x, order), [*before, iterations * channels, *after])


def _out_of_channels(dw: tf.Tensor, axis: int, groups: tf.Tensor | int, iterations: tf.Tensor) -> tf.Tensor:
    """Of a filter whose `axis` has the order (groups, iterations, rest), one filter for each iteration."""
    shape = tf.unstack(tf.shape(dw), num=4)
    before, channels, after = shape[:axis], shape[axis] // iterations, shape[axis + 1 :]
    dw = tf.reshape(dw, [*before, groups, iterations, channels // groups, *after])
    order = list(range(6))
    order.insert(0, order.pop(axis + 1))
    return tf.reshape(tf.transpose(dw, order), [iterations, *before, channels, *after])
