"""Makes TensorFlow's own convolutions compute their filter gradients with Conv2DBackpropFilterV2."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops as tf_ops

from tensorflow_conv_backprop import adjoints, library
from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.gradients import gradient_for_output, is_unneeded, with_shape_of

_Gradient = Callable[[Any, tf.Tensor], list[tf.Tensor | None]]


def _conv2d_gradient(op: Any, dy: tf.Tensor) -> list[tf.Tensor | None]:
    attributes = ConvAttributes.of(op)
    dy = gradient_for_output(op, dy)
    x, w = op.inputs
    dx = None if is_unneeded(op, 0) else adjoints.input_gradient(x, w, dy, attributes)
    dw = None if is_unneeded(op, 1) else adjoints.filter_gradient(x, w, dy, attributes)
    return [with_shape_of(x, dx), with_shape_of(w, dw)]


def _conv2d_backprop_input_gradient(op: Any, ddx: tf.Tensor) -> list[tf.Tensor | None]:
    """Conv2DBackpropInput is also the forward op of a transposed convolution."""
    attributes = ConvAttributes.of(op)
    ddx = gradient_for_output(op, ddx)
    _, w, dy = op.inputs
    dw = None if is_unneeded(op, 1) else adjoints.filter_gradient(ddx, w, dy, attributes)
    ddy = None if is_unneeded(op, 2) else adjoints.convolution(ddx, w, attributes)
    return [None, with_shape_of(w, dw), with_shape_of(dy, ddy)]


_PATCHES: dict[str, _Gradient] = {
    "Conv2D": _conv2d_gradient,
    "Conv2DBackpropInput": _conv2d_backprop_input_gradient,
}

_lock = threading.Lock()
_originals: dict[str, Any] = {}
_patched_for_good = False
_open_contexts = 0


def patch_tensorflow() -> None:
    """From here on, the gradients of TensorFlow's 2-D convolutions use `Conv2DBackpropFilterV2`, in all threads.

    That covers `tf.nn.conv2d`, `tf.nn.convolution` and `tf.nn.conv2d_transpose`, and with them Keras's `Conv2D`,
    `Conv2DTranspose` and the pointwise half of `SeparableConv2D`; also `tf.nn.conv1d`, `Conv1D` and `Conv1DTranspose`,
    which are convolutions of images of one row. The gradient for the input stays TensorFlow's wherever
    TensorFlow has a kernel for it. Where it has none (on most CPUs: dilations and groups) it is composed of convolutions
    that do run, so that models train whose forward pass TensorFlow can run. What it cannot, such as NCHW on most CPUs,
    `conv2d` can. What XLA compiles (Keras's `fit` by default) uses `Conv2DBackpropFilterV2` on CPU from TensorFlow 2.20
    on; on GPUs, and before, XLA computes it by its own convolution.

    A gradient is looked up when it is built: functions that `tf.function` traced before, and graphs whose gradients were
    built before, keep what they have. The environment variable TF_CONV_BACKPROP_PATCH=1 patches when the package is
    imported. Calling this twice is the same as calling it once.

    Raises:
        RuntimeError: If the gradient registry of this TensorFlow is not laid out as expected, or if somebody else
            replaced a patched gradient. Nothing is changed then.
    """
    global _patched_for_good
    with _lock:
        _install()
        _patched_for_good = True


def unpatch_tensorflow() -> None:
    """Undoes `patch_tensorflow`: puts back the gradients that were registered before it.

    Inside of `with patched_tensorflow():` this takes effect when the context ends. Without a patch it does nothing.

    Raises:
        RuntimeError: If somebody else replaced a patched gradient meanwhile. Nothing is changed then.
    """
    global _patched_for_good
    with _lock:
        if _open_contexts == 0:
            _restore()
        _patched_for_good = False


@contextlib.contextmanager
def patched_tensorflow() -> Iterator[None]:
    """Context manager: patched inside, as before afterwards. Contexts may be nested, and overlap between threads.

    The gradient registry is global: while any thread is inside, every thread gets the patched gradients.

    >>> filters = tf.Variable(tf.ones([2, 2, 1, 1]))
    >>> with patched_tensorflow():
    ...     with tf.GradientTape() as tape:
    ...         loss = tf.reduce_sum(tf.nn.conv2d(tf.ones([1, 3, 3, 1]), filters, strides=1, padding="VALID"))
    ...     dw = tape.gradient(loss, filters)
    >>> dw[..., 0, 0].numpy().tolist()
    [[4.0, 4.0], [4.0, 4.0]]

    Raises:
        RuntimeError: As `patch_tensorflow` and `unpatch_tensorflow`.
    """
    global _open_contexts
    with _lock:
        _install()
        _open_contexts += 1
    try:
        yield
    except BaseException:
        with contextlib.suppress(RuntimeError):  # the caller's own error says more
            _leave_context()
        raise
    _leave_context()


def patched_ops() -> list[str]:
    """The ops whose gradients are this module's at the moment."""
    return [op for op, gradient in _PATCHES.items() if tf_ops.gradient_registry.lookup(op) is gradient]


def _leave_context() -> None:
    global _open_contexts
    with _lock:
        _open_contexts -= 1
        if _open_contexts == 0 and not _patched_for_good:
            _restore()


def _entries() -> dict[str, dict[str, Any]]:
    """The registry's own entries of the ops to patch; replacing "type" in one of them replaces the gradient."""
    try:
        registry = tf_ops.gradient_registry
        entries = {op: registry._registry[op] for op in _PATCHES}
        if all(registry.lookup(op) is entry["type"] for op, entry in entries.items()):
            return entries
    except (AttributeError, KeyError, LookupError, TypeError):
        pass
    raise RuntimeError(
        f"the gradient registry of TensorFlow {tf.version.VERSION} is not laid out as tensorflow-conv-backprop expects, "
        f"so the gradients of {' and '.join(_PATCHES)} cannot be replaced; call tensorflow_conv_backprop.conv2d instead"
    )


def _install() -> None:
    entries = _entries()
    _refuse_foreign(entries)
    if library.lacks_gpu_kernels():
        warnings.warn(
            "this build of tensorflow-conv-backprop has no kernels for GPUs: patched filter gradients run on the CPU",
            RuntimeWarning,
            stacklevel=3,
        )
    for op, entry in entries.items():
        _originals.setdefault(op, entry["type"])
        entry["type"] = _PATCHES[op]


def _restore() -> None:
    if not _originals:
        return
    entries = _entries()
    _refuse_foreign(entries)
    for op, entry in entries.items():
        entry["type"] = _originals.pop(op)


def _refuse_foreign(entries: dict[str, dict[str, Any]]) -> None:
    """Raises RuntimeError if a patched gradient is neither this module's nor the one that was there before it."""
    foreign = [op for op, original in _originals.items() if entries[op]["type"] not in (_PATCHES[op], original)]
    if foreign:
        raise RuntimeError(f"the gradient of {', '.join(foreign)} was replaced after patching; put it back first")
