"""Names for code that is written against `tf.compat.v1`."""

from tensorflow_conv_backprop.ops import conv2d_backprop_filter_v2

__all__ = ["conv2d_backprop_filter_v2"]
