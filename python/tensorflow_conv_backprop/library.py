"""Finds the plugin's library, makes sure that it fits the running TensorFlow, and loads it."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import json
import pathlib
import warnings
from typing import Any

try:
    from tensorflow_conv_backprop import _build_info
except ImportError:
    raise ImportError("the library of tensorflow_conv_backprop is not built yet; `make` builds it") from None

try:
    import tensorflow as tf
except ModuleNotFoundError as error:
    if error.name != "tensorflow":
        raise
    raise ImportError(
        f"tensorflow-conv-backprop {_build_info.VERSION} was built for TensorFlow {_build_info.TENSORFLOW_VERSION}, and "
        "none is installed. Install it with pip install 'tensorflow-conv-backprop[cpu]'; [tensorflow] and [gpu] bring "
        "its other packages."
    ) from None

_LIBRARY = pathlib.Path(__file__).with_name("_conv_backprop_ops.so")
# Not built where TensorFlow lacks what it needs; there, functions with jit_compile=True cannot contain the op.
_XLA_LIBRARY = pathlib.Path(__file__).with_name("_conv_backprop_xla.so")


class Request(ctypes.Structure):
    """WgradRequest of tf_ops/wgrad/c_api.h: one configuration of the op."""

    _fields_ = [
        ("dtype", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("padding", ctypes.c_int32),
        ("num_explicit_paddings", ctypes.c_int32),
        ("input_shape", ctypes.c_int64 * 4),
        ("filter_shape", ctypes.c_int64 * 4),
        ("strides", ctypes.c_int64 * 4),
        ("dilations", ctypes.c_int64 * 4),
        ("explicit_paddings", ctypes.c_int64 * 8),
    ]


def uses_gpu() -> bool:
    """Whether TensorFlow sees a GPU, and this build has kernels for it."""
    return _build_info.CUDA_VERSION is not None and bool(tf.config.list_physical_devices("GPU"))


def lacks_gpu_kernels() -> bool:
    """Whether TensorFlow sees a GPU, and this build has no kernels for any: filter gradients run on the CPU then."""
    return _build_info.CUDA_VERSION is None and bool(tf.config.list_physical_devices("GPU"))


def xla_on_cpu() -> str:
    """What XLA makes of the op there."""
    if not _XLA_LIBRARY.exists():
        return "none"
    return "calls the engine" if hasattr(functions(), "wgrad_xla_call") else "its own convolution"


def library_path() -> str:
    """Path of the library with the op's kernels, for `tf.load_op_library` in programs that do without this package."""
    return str(_LIBRARY)


def load() -> None:
    """Loads the libraries: from here on `tf.conv2d_backprop_filter_v2` and the raw op have kernels, also in XLA.

    Raises:
        ImportError: If the library was built for another minor version of TensorFlow, or for another build of this one.
    """
    check_tensorflow_version(built_for=_build_info.TENSORFLOW_VERSION, running=tf.version.VERSION)
    try:
        tf.load_op_library(library_path())
    except tf.errors.NotFoundError as error:
        raise ImportError(
            f"tensorflow-conv-backprop {_build_info.VERSION} was built for TensorFlow {_build_info.TENSORFLOW_VERSION}, and "
            f"the TensorFlow {tf.version.VERSION} that is running lacks what it needs: build it from source where this one "
            f"is installed. {error.message}"
        ) from error
    if _XLA_LIBRARY.exists():
        _load_xla_library()


def _load_xla_library() -> None:
    try:
        tf.load_op_library(str(_XLA_LIBRARY))
    except tf.errors.NotFoundError as error:
        # Of the same minor version, but built without XLA: everything else works.
        warnings.warn(f"XLA cannot compile Conv2DBackpropFilterV2: {error.message}", RuntimeWarning, stacklevel=2)


def check_tensorflow_version(built_for: str, running: str) -> None:
    """Raises ImportError unless both are of the same minor version.

    TensorFlow's C++ interface changes with every minor version; opening a library of another one ends in undefined
    symbols at best.
    """
    minor = _minor(built_for)
    if _minor(running) != minor:
        # tensorflow, or tensorflow-cpu, which brings the same module
        package = importlib.metadata.packages_distributions().get("tensorflow", ["tensorflow"])[0].replace("_", "-")
        raise ImportError(
            f"tensorflow-conv-backprop {_build_info.VERSION} was built for TensorFlow {minor} (with {built_for}), but "
            f"TensorFlow {running} is running. Install TensorFlow {minor} (pip install '{package}=={minor}.*'), or the "
            f"tensorflow-conv-backprop that is built for TensorFlow {_minor(running)}."
        )


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


@functools.cache
def functions() -> ctypes.CDLL:
    """The plain C functions of tf_ops/wgrad/c_api.h."""
    library = ctypes.CDLL(library_path())
    for name, arguments, result in (
        ("wgrad_plan", [ctypes.POINTER(Request), ctypes.c_char_p], ctypes.c_char_p),
        ("wgrad_describe_cpu", [], ctypes.c_char_p),
        ("wgrad_run_counts", [], ctypes.c_char_p),
        ("wgrad_reset_run_counts", [], None),
        ("wgrad_set_algorithm", [ctypes.c_char_p], ctypes.c_int),
        ("wgrad_get_algorithm", [], ctypes.c_char_p),
    ):
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = result
    return library


def parse(answer: bytes) -> dict[str, Any]:
    """The JSON object that one of the functions returned."""
    parsed: dict[str, Any] = json.loads(answer)
    return parsed
