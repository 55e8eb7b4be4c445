"""`info`: what is installed here, in one block for bug reports."""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import kernels
from tensorflow.python.util import _pywrap_util_port

from tensorflow_conv_backprop import _build_info, library
from tensorflow_conv_backprop.algorithm import get_algorithm
from tensorflow_conv_backprop.patch import patched_ops

# Those that decide which kernels run, and on what.
_VARIABLES = (
    "TF_CONV_BACKPROP_ALGORITHM",
    "TF_CONV_BACKPROP_PATCH",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_DETERMINISTIC_OPS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_XLA_FLAGS",
    "XLA_FLAGS",
    "CUDA_VISIBLE_DEVICES",
)


def add_command(commands: Any) -> None:
    parser = commands.add_parser(
        "info", help="what is installed here, for bug reports", description="Prints what a bug report should say."
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    for name, value in describe().items():
        print(f"{name:<24}  {value}")
    return 0


def describe() -> dict[str, str]:
    cuda = f"CUDA {_build_info.CUDA_VERSION}" if _build_info.CUDA_VERSION else "no CUDA"
    devices, xla_devices = _kernels()
    onednn = "on" if _pywrap_util_port.IsMklEnabled() else "off"
    return {
        "tensorflow-conv-backprop": f"{_build_info.VERSION}, for TensorFlow {_build_info.TENSORFLOW_VERSION}, {cuda}",
        "library": library.library_path(),
        "TensorFlow": f"{tf.version.VERSION}, oneDNN {onednn}",
        "Python, NumPy": f"{platform.python_version()}, {np.__version__}",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "CPU": _cpu(),
        "GPU": ", ".join(_gpus()) or "none",
        "kernels": ", ".join(devices),
        "XLA kernels": ", ".join(xla_devices) or "none",
        "XLA on CPU": library.xla_on_cpu(),
        "algorithm": get_algorithm(),
        "patched": ", ".join(patched_ops()) or "nothing in this process",
        "environment": ", ".join(f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ) or "-",
    }


def _cpu() -> str:
    cpu = library.parse(library.functions().wgrad_describe_cpu())
    caches = ", ".join(f"{level} {cpu[f'{level.lower()}_bytes'] >> 10:,} KiB" for level in ("L1d", "L2", "L3"))
    threads = len(os.sched_getaffinity(0))
    return f"{_cpu_model()}, {threads} threads; {cpu['isa']}, {cpu['vector_bits']} bits; {caches}"


def _cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    details = (tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU"))
    return [
        f"{gpu.get('device_name', 'unknown')}, compute capability {'.'.join(map(str, gpu.get('compute_capability', '?')))}"
        for gpu in details
    ]


def _kernels() -> tuple[list[str], list[str]]:
    """The devices that have a kernel of the op; XLA's apart."""
    registered = kernels.get_registered_kernels_for_op("Conv2DBackpropFilterV2").kernel
    devices = sorted({kernel.device_type for kernel in registered})
    return [d for d in devices if not d.startswith("XLA_")], [d for d in devices if d.startswith("XLA_")]
