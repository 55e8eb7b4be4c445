"""benchmarks/run.py, on layers that take no time, with a PyTorch that crashes on one and lies about the other."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from matplotlib import image

BENCHMARK = pathlib.Path(__file__).parents[1] / "benchmarks" / "run.py"

BAD_PYTORCH = """
import os, signal
from types import SimpleNamespace
import numpy as np

class Tensor:
    dtype = None
    def __init__(self, shape): self.shape = shape
    def permute(self, *_): return self
    def contiguous(self, memory_format): return self
    def double(self): return self
    def numpy(self): return np.ones(self.shape)

def convolution_backward(dy, x, weight, *_):
    if weight.shape[:2] == (3, 3):
        os.kill(os.getpid(), signal.SIGSEGV)
    return None, weight, None

channels_last = None
def set_num_threads(threads): pass
def zeros(filters, channels, height, width, dtype): return Tensor((height, width, channels, filters))
nn = SimpleNamespace(functional=SimpleNamespace(pad=lambda x, pads: x))
ops = SimpleNamespace(aten=SimpleNamespace(convolution_backward=convolution_backward))
utils = SimpleNamespace(dlpack=SimpleNamespace(from_dlpack=lambda capsule: Tensor(None)))
"""


def test_measures_what_is_right_and_survives_what_is_not(tmp_path: pathlib.Path) -> None:
    (tmp_path / "torch.py").write_text(BAD_PYTORCH)
    output = tmp_path / "output"
    options = ["--model", "tiny", "--batch", "2", "--threads", "1", "--repeat", "2", "--output", output]
    run = subprocess.run(
        [sys.executable, BENCHMARK, *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stdout + run.stderr

    (part,) = json.loads((output / "results.json").read_text())["configurations"]
    crashed, wrong = part["layers"]
    for layer in (crashed, wrong):
        for name in ("plugin", "tensorflow_eigen"):
            timing = layer["timings"][name]
            assert timing["status"] == "measured"
            assert len(timing["seconds"]) == 2
            assert min(timing["seconds"]) > 0
            assert timing["error"] < 1e-6
        assert len(layer["peak_flops"]) == 2
    assert crashed["timings"]["torch"]["status"] == "failed"
    assert "SIGSEGV" in crashed["timings"]["torch"]["detail"]
    assert wrong["timings"]["torch"]["status"] == "wrong"

    tables = (output / "tables.md").read_text()
    assert "2x2s2" in tables
    assert "SIGSEGV" in tables
    for name in ("tiny_float32_2.png", "summary.png"):
        assert image.imread(output / name).std() > 0.05  # something is drawn


def test_lists_the_layers_that_there_was_no_time_for(tmp_path: pathlib.Path) -> None:
    options = ["--model", "tiny", "--threads", "1", "--budget-seconds", "0", "--output", tmp_path]
    run = subprocess.run(
        [sys.executable, BENCHMARK, *options], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (part,) = json.loads((tmp_path / "results.json").read_text())["configurations"]
    assert part["layers"] == []
    assert list(part["left_out"]) == ["3x3", "2x2s2"]
    assert "left out" in (tmp_path / "tables.md").read_text()
