"""Names for code that is written against `tf.compat`."""

from tensorflow_conv_backprop.compat import v1

__all__ = ["v1"]
