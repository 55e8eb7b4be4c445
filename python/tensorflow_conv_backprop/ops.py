"""The documented function, on top of the op's kernels in the plugin's library."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tensorflow_conv_backprop.attributes import int64s


@tf.__internal__.dispatch.add_dispatch_support
def conv2d_backprop_filter_v2(
    input: tf.Tensor,
    filter: tf.Tensor,
    out_backprop: tf.Tensor,
    strides: Sequence[int],
    padding: str,
    use_cudnn_on_gpu: bool = True,
    explicit_paddings: Sequence[int] = [],
    data_format: str = "NHWC",
    dilations: Sequence[int] = [1, 1, 1, 1],
    name: str | None = None,
) -> tf.Tensor:
    """Gradient of a 2-D convolution with respect to its filter.

    For `y = tf.nn.conv2d(input, filter, ...)` and a scalar loss, turns `out_backprop`, the gradient of the loss for `y`,
    into the gradient of the loss for the filter. In NHWC, and without groups:

        result[kh, kw, c, f] = sum over n, oh, ow of
            input[n, oh * stride_height + kh * dilation_height - pad_top,
                     ow * stride_width  + kw * dilation_width  - pad_left, c] * out_backprop[n, oh, ow, f]

    where positions outside of `input` count as zero. Half, bfloat16 and float32 are summed in float32, float64 in
    float64, and the sum is rounded once. The result does not depend on the number of threads.

    The convolution is grouped when the filter has fewer input channels than `input`:
    `groups = in_channels // filter_in_channels`, which must divide `in_channels` and `out_channels`. Both gradients of
    this op are registered, to any order; for `filter` the gradient is `None`.

    >>> image = tf.constant([[1.0, 2.0, 3.0]])[..., tf.newaxis, tf.newaxis]  # 1 image, 3 x 1 pixels, 1 channel
    >>> dy = tf.constant([[10.0, 1.0]])[..., tf.newaxis, tf.newaxis]
    >>> dw = conv2d_backprop_filter_v2(image, tf.zeros([2, 1, 1, 1]), dy, strides=[1, 1, 1, 1], padding="VALID")
    >>> dw[:, 0, 0, 0].numpy().tolist()  # 1 * 10 + 2 * 1 and 2 * 10 + 3 * 1
    [12.0, 23.0]

    Args:
        input: The input of the convolution, `[batch, in_height, in_width, in_channels]` in NHWC and
            `[batch, in_channels, in_height, in_width]` in NCHW; half, bfloat16, float32 or float64.
        filter: A tensor of the shape of the convolution's filter,
            `[filter_height, filter_width, in_channels / groups, out_channels]` in both data formats, and of the type of
            `input`. Its values are never read.
        out_backprop: The gradient for the output of the convolution, `[batch, out_height, out_width, out_channels]` in
            NHWC and `[batch, out_channels, out_height, out_width]` in NCHW, of the type of `input`. `out_height` is
            `ceil(in_height / stride)` for `"SAME"`, otherwise
            `floor((in_height + padding - (filter_height - 1) * dilation - 1) / stride) + 1`, and `out_width` likewise.
        strides: Four positive integers in the order of `data_format`; 1 for batch and channels.
        padding: `"SAME"`, `"VALID"` or `"EXPLICIT"`.
        use_cudnn_on_gpu: Whether cuDNN may be used on a GPU. On CPU it means nothing.
        explicit_paddings: For `"EXPLICIT"`, eight non-negative integers: rows or columns of zeros added before and after
            each dimension, in the order of `data_format`; 0 for batch and channels. Empty for the other paddings.
        data_format: `"NHWC"` or `"NCHW"`, the layout of `input` and `out_backprop`.
        dilations: Four positive integers in the order of `data_format`: the distance between neighbouring taps of the
            filter; 1 for batch and channels.
        name: A name for the operation.

    Returns:
        A tensor of the shape of `filter` and the type of `input`. Zeros where the batch or the output is empty.

    Raises:
        tf.errors.InvalidArgumentError: If a shape or an attribute is not as described above, or if they contradict each
            other: the message names the dimension or the attribute and its value. Also if the algorithm of
            `set_algorithm` cannot do it.
        tf.errors.ResourceExhaustedError: If there is no memory for the result or the workspace.
        tf.errors.UnimplementedError: If this build has kernels for GPUs, and none that this one can run. Where it has
            none at all, TensorFlow places the op on the CPU.
        TypeError, ValueError: While a graph is built, in place of InvalidArgumentError for what TensorFlow itself finds:
            tensors of different or other types, names that there are not, shapes that are not of rank 4.
        TypeError: If strides, explicit_paddings or dilations are no sequence of integers.
        ValueError: If one of their integers does not fit into 64 bits.
    """
    return tf.raw_ops.Conv2DBackpropFilterV2(
        input=input,
        filter=filter,
        out_backprop=out_backprop,
        strides=list(int64s("strides", strides)),
        padding=padding,
        use_cudnn_on_gpu=use_cudnn_on_gpu,
        explicit_paddings=list(int64s("explicit_paddings", explicit_paddings)),
        data_format=data_format,
        dilations=list(int64s("dilations", dilations)),
        name=name,
    )
