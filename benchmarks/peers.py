"""What is compared: this plugin, TensorFlow's V1 op with each of its two CPU kernels, and PyTorch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_conv_backprop as conv_backprop
from layers import Layer
from tensorflow.python.eager import context


class Unsupported(Exception):
    """The implementation has no kernel for the problem."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One layer's filter gradient, with its operands in the layer's layout. All implementations read the same memory."""

    layer: Layer
    x: tf.Tensor
    dy: tf.Tensor

    @classmethod
    def random(cls, layer: Layer, batch: int, dtype: str) -> Problem:
        def normal(seed: int, size: int, channels: int) -> tf.Tensor:
            drawn_in = tf.float64 if dtype == "float64" else tf.float32
            shape = [batch, *layer.in_layout(size, channels)]
            return tf.cast(tf.random.stateless_normal(shape, seed=[seed, 0], dtype=drawn_in), dtype)

        return cls(layer, normal(1, layer.size, layer.channels), normal(2, layer.out_size, layer.filters))

    def attributes(self, explicit: bool = False) -> dict[str, Any]:
        """SAME padding, or the same zeros spelled out."""
        layer = self.layer
        if explicit:
            pads = itertools.chain((0, 0), *layer.in_layout(layer.pads, (0, 0)))
            return {**_window(layer), "padding": "EXPLICIT", "explicit_paddings": list(pads)}
        return {**_window(layer), "padding": "SAME"}


@dataclasses.dataclass(frozen=True)
class Implementation:
    """`run` computes once; `to_numpy` brings what it returned into the filter's shape, HWIO, as float64."""

    run: Callable[[], Any]
    to_numpy: Callable[[Any], np.ndarray]


def plugin(problem: Problem) -> Implementation:
    """The raw op, as the peers' are. (Its filter argument gives the shape alone.)"""
    filters = tf.zeros(problem.layer.filter_shape, problem.x.dtype)
    attributes = problem.attributes()
    return _tensorflow_implementation(
        problem,
        lambda x, dy: tf.raw_ops.Conv2DBackpropFilterV2(input=x, filter=filters, out_backprop=dy, **attributes),
    )


def tensorflow_onednn(problem: Problem) -> Implementation:
    """TensorFlow's default on processors with VNNI or AMX, and with TF_ENABLE_ONEDNN_OPTS=1 on others."""
    if not any(kernel.startswith("_Mkl") for kernel in _kernels(problem, _v1_op(problem, explicit=False))):
        raise Unsupported("TensorFlow does not use oneDNN for this type on this processor")
    return _tensorflow_implementation(problem, _v1_op(problem, explicit=False))


def tensorflow_eigen(problem: Problem) -> Implementation:
    """TensorFlow's default on processors without VNNI and AMX.

    With oneDNN on, TensorFlow keeps its Eigen kernel for explicit paddings alone, so that is how it is reached here.
    """
    if any(kernel.startswith("_Mkl") for kernel in _kernels(problem, _v1_op(problem, explicit=True))):
        raise Unsupported("TensorFlow uses oneDNN for explicit paddings too")
    return _tensorflow_implementation(problem, _v1_op(problem, explicit=True))


def torch(problem: Problem) -> Implementation:
    """`aten::convolution_backward` for the filter alone, of NHWC on channels_last tensors."""
    try:
        import torch as pytorch
    except ImportError as error:
        raise Unsupported("PyTorch is not installed") from error

    layer = problem.layer
    nchw = layer.data_format == "NCHW"
    layout = pytorch.contiguous_format if nchw else pytorch.channels_last

    def shared(tensor: tf.Tensor) -> Any:
        same = pytorch.utils.dlpack.from_dlpack(tf.experimental.dlpack.to_dlpack(tensor))
        return same if nchw else same.permute(0, 3, 1, 2)  # the shape is NCHW whatever the layout of the memory

    before, after = layer.pads
    x, dy = shared(problem.x), shared(problem.dy)
    # PyTorch pads both sides alike. Where SAME does not, the row and the column that are missing are added beforehand.
    x = pytorch.nn.functional.pad(x, (0, after - before) * 2).contiguous(memory_format=layout)
    height, width, channels, filters = layer.filter_shape
    weight = pytorch.zeros(filters, channels, height, width, dtype=x.dtype)
    weight = weight.contiguous(memory_format=layout)

    def run() -> Any:
        return pytorch.ops.aten.convolution_backward(
            dy, x, weight, None, [layer.stride] * 2, [before] * 2, [layer.dilation] * 2, False, [0, 0], layer.groups,
            [False, True, False],
        )  # fmt: skip

    return Implementation(run, lambda outputs: outputs[1].permute(2, 3, 1, 0).double().numpy())


# In the order in which they take turns.
IMPLEMENTATIONS: dict[str, Callable[[Problem], Implementation]] = {
    "plugin": plugin,
    "tensorflow_onednn": tensorflow_onednn,
    "tensorflow_eigen": tensorflow_eigen,
    "torch": torch,
}


def use_threads(threads: int) -> None:
    """To be called before the first op: TensorFlow's threads cannot change after that."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        import torch as pytorch
    except ImportError:
        return
    pytorch.set_num_threads(threads)


def algorithm(layer: Layer, batch: int, dtype: str) -> str:
    """The one that the plugin chooses."""
    x_shape = (batch, *layer.in_layout(layer.size, layer.channels))
    return conv_backprop.plan(x_shape, layer.filter_shape, padding="SAME", dtype=dtype, **_window(layer)).algorithm


def _window(layer: Layer) -> dict[str, Any]:
    """The attributes that do not depend on how the padding is spelled."""
    return {
        "strides": [1, *layer.in_layout(layer.stride, 1)],
        "dilations": [1, *layer.in_layout(layer.dilation, 1)],
        "data_format": layer.data_format,
    }


def _v1_op(problem: Problem, explicit: bool) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    layer = problem.layer
    height, width, channels, filters = layer.filter_shape
    if layer.groups == layer.channels > 1:
        op, shape = (
            tf.raw_ops.DepthwiseConv2dNativeBackpropFilter,
            (height, width, layer.channels, filters // layer.groups),
        )
    else:
        op, shape = tf.raw_ops.Conv2DBackpropFilter, (height, width, channels, filters)

    filter_sizes, attributes = tf.constant(shape), problem.attributes(explicit)
    return lambda x, dy: op(input=x, filter_sizes=filter_sizes, out_backprop=dy, **attributes)


def _kernels(problem: Problem, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> set[str]:
    """The ops that TensorFlow makes of the function, which is tried on the first image alone."""
    context.context().enable_graph_collection()
    try:
        tf.function(function, autograph=False)(problem.x[:1], problem.dy[:1])
        graphs = context.context().export_run_metadata().function_graphs
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        raise Unsupported(_last_line(error.message)) from error
    finally:
        context.context().disable_graph_collection()
    return {node.op for collected in graphs for graph in collected.partition_graphs for node in graph.node}


def _last_line(message: str) -> str:
    """TensorFlow's own words, which it puts after the Python stack and before the name of the node."""
    lines = [line.strip() for line in message.split("[[{{node")[0].splitlines()]
    return next((line for line in reversed(lines) if line), message)


def _tensorflow_implementation(
    problem: Problem, function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
) -> Implementation:
    return Implementation(
        run=lambda: function(problem.x, problem.dy),
        to_numpy=lambda dw: dw.numpy().astype(np.float64).reshape(problem.layer.filter_shape),
    )
