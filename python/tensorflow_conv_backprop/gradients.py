"""The gradient of Conv2DBackpropFilterV2, registered with TensorFlow when this module is imported."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tensorflow_conv_backprop import adjoints
from tensorflow_conv_backprop.attributes import ConvAttributes


@tf.RegisterGradient("Conv2DBackpropFilterV2")
def conv2d_backprop_filter_v2_gradient(op: Any, grad: tf.Tensor) -> list[tf.Tensor | None]:
    """Gradients for `input`, `filter` (None: its values are not read) and `out_backprop`."""
    attributes = ConvAttributes.of(op)
    grad = gradient_for_output(op, grad)
    x, _, dy = op.inputs
    dx = None if is_unneeded(op, 0) else adjoints.input_gradient(x, grad, dy, attributes)
    ddy = None if is_unneeded(op, 2) else adjoints.convolution(x, grad, attributes)
    return [with_shape_of(x, dx), None, with_shape_of(dy, ddy)]


def gradient_for_output(op: Any, gradient: tf.Tensor | tf.IndexedSlices) -> tf.Tensor:
    """The incoming gradient as a tensor, with what the graph knows of the shape of the op's output."""
    dense = tf.convert_to_tensor(gradient)
    if op.outputs:  # a tape keeps none
        dense.set_shape(op.outputs[0].shape)
    return dense


def is_unneeded(op: Any, index: int) -> bool:
    """Whether an eager tape will drop the gradient of input `index`; a graph prunes it by itself."""
    return index in (getattr(op, "skip_input_indices", None) or ())


def with_shape_of(value: tf.Tensor, gradient: tf.Tensor | None) -> tf.Tensor | None:
    """`gradient`, with what the graph knows of the shape of `value`."""
    if gradient is not None:
        gradient.set_shape(value.shape)
    return gradient
