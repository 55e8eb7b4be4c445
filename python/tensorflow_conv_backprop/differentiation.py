"""Gives a computation gradients of its own, as `tf.custom_gradient` does, wherever these are built."""

from __future__ import annotations

import itertools
import os
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import record

# Of the inputs and the gradient for the output, the gradients for the inputs.
Gradients = Callable[[Sequence[tf.Tensor], tf.Tensor], list[tf.Tensor | None]]

# A graph of another process must not find its gradients' names here, where they would mean other gradients.
_process: str
_numbers = itertools.count()


def _name_process() -> None:
    global _process
    _process = uuid.uuid4().hex


_name_process()
os.register_at_fork(after_in_child=_name_process)


def with_gradients(y: Callable[[], tf.Tensor], inputs: list[tf.Tensor], gradients: Gradients) -> tf.Tensor:
    """`y()`, which is a function of `inputs` and whose gradients for them are `gradients`.

    In a graph `tf.custom_gradient` differentiates by a closure over tensors of the graph that it was called in. Where
    the gradient belongs to another graph, as behind `tf.cond`, `tf.while_loop` or a nested `tf.function`, its own
    gradient then refers to tensors out of scope. Here the gradient gets the inputs from the operation that it is of.
    """
    if tf.executing_eagerly() and not record.could_possibly_record():
        return y()
    with record.stop_recording():
        result = y()
        if not tf.executing_eagerly():
            result = _tied(result, inputs, gradients)
    # For all inputs: which of them a forward accumulator's own tape watches cannot be asked.
    record.record_operation("with_gradients", [result], inputs, lambda dy: gradients(inputs, tf.convert_to_tensor(dy)))
    return result


def _tied(y: tf.Tensor, inputs: list[tf.Tensor], gradients: Gradients) -> tf.Tensor:
    """`y` out of an operation that also has `inputs`, so that its gradient finds them."""
    name = f"CustomGradient-tensorflow_conv_backprop-{_process}-{next(_numbers)}"
    with tf.compat.v1.get_default_graph().gradient_override_map({"IdentityN": name}):
        tied = tf.identity_n([y, *inputs])[0]
    # The registry keeps what it is given for ever, and a tensor would keep its graph.
    graph, operation = weakref.ref(tied.graph), tied.op.name

    @tf.RegisterGradient(name)
    def gradient(op: Any, dy: tf.Tensor, *unused: tf.Tensor) -> list[tf.Tensor | None]:
        if op is None:  # what saves a model, and keeps its graph, traces this without an operation
            op = graph().get_operation_by_name(operation)  # type: ignore[union-attr]
        return [None, *gradients(op.inputs[1:], tf.convert_to_tensor(dy))]

    return tied
