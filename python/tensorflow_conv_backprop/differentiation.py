"""Gives a computation gradients of its own, as `tf.custom_gradient` does, wherever these are built."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

# Of the inputs and the gradient for the output, the gradients for the inputs.
Gradients = Callable[[Sequence[tf.Tensor], tf.Tensor], list[tf.Tensor | None]]

_numbers = itertools.count()


def with_gradients(y: Callable[[], tf.Tensor], inputs: list[tf.Tensor], gradients: Gradients) -> tf.Tensor:
    """`y()`, which is a function of `inputs` and whose gradients for them are `gradients`.

    In a graph `tf.custom_gradient` differentiates by a closure over tensors of the graph that it was called in. Where
    the gradient belongs to another graph, as behind `tf.cond`, `tf.while_loop` or a nested `tf.function`, its own
    gradient then refers to tensors out of scope. Here the gradient gets the inputs from the operation that it is of.
    """
    with record.stop_recording():
        result = y()
        if not tf.executing_eagerly():
            result = _tied(result, inputs, gradients)
    record.record_operation("with_gradients", [result], inputs, lambda dy: gradients(inputs, tf.convert_to_tensor(dy)))
    return result


def _tied(y: tf.Tensor, inputs: list[tf.Tensor], gradients: Gradients) -> tf.Tensor:
    """`y` out of an operation that also has `inputs`, so that its gradient finds them."""
    name = f"CustomGradient-tensorflow_conv_backprop-{next(_numbers)}"

    @tf.RegisterGradient(name)
    def gradient(op: Any, dy: tf.Tensor, *unused: tf.Tensor) -> list[tf.Tensor | None]:
        # What saves a model traces this without an operation.
        its_inputs = inputs if op is None else op.inputs[1:]
        return [None, *gradients(its_inputs, tf.convert_to_tensor(dy))]

    with tf.compat.v1.get_default_graph().gradient_override_map({"IdentityN": name}):
        return tf.identity_n([y, *inputs])[0]
