"""What the numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import platform
import re
import time

_VECTOR_EXTENSIONS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16")
_PACKAGES = {
    "plugin": ("tensorflow_conv_backprop",),
    "tensorflow": ("tensorflow_cpu", "tensorflow"),
    "torch": ("torch",),
    "numpy": ("numpy",),
}


def describe() -> dict[str, str]:
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    flags = _field(cpuinfo, "flags").split()
    processors = len(os.sched_getaffinity(0))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": f"{_field(cpuinfo, 'model name') or platform.machine()}, {processors} used",
        "vector extensions": ", ".join(name for name in _VECTOR_EXTENSIONS if name in flags),
        "system": f"{platform.system()} {platform.release().split('-')[0]}, {platform.libc_ver()[0]} "
        f"{platform.libc_ver()[1]}, Python {platform.python_version()}",
        **{name: _version(distributions) for name, distributions in _PACKAGES.items()},
    }


def _field(cpuinfo: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def _version(distributions: tuple[str, ...]) -> str:
    for distribution in distributions:
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"
