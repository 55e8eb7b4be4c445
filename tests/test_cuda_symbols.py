"""The plugin carries its own CUDA runtime and loads where there is no CUDA at all."""

from __future__ import annotations

import re
import subprocess

import tensorflow_conv_backprop


def _run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_symbol_of_cuda_is_left_to_the_loader() -> None:
    """TensorFlow's GPU library exports stubs of these names, of another CUDA version, and its CPU library has none."""
    undefined = _run("nm", "-D", "--undefined-only", tensorflow_conv_backprop.library_path())
    assert "TF_" in undefined or "tensorflow" in undefined, "nm lists what the plugin takes from TensorFlow"
    assert re.findall(r"\b_*(?:cuda|cudnn|cu[A-Z]|fatbin)\w*", undefined) == []


def test_no_symbol_of_cuda_is_offered_to_others() -> None:
    defined = _run("nm", "-D", "--defined-only", tensorflow_conv_backprop.library_path())
    assert re.findall(r"\b_*(?:cuda|cudnn|cu[A-Z]|fatbin)\w*", defined) == []


def test_no_library_of_cuda_is_needed() -> None:
    needed = re.findall(r"NEEDED.*\[(.*)\]", _run("readelf", "-d", tensorflow_conv_backprop.library_path()))
    assert needed
    assert [name for name in needed if name.startswith("libcu")] == []
