"""The benchmarks, on layers and a model that take no time."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from matplotlib import image

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
BENCHMARK = BENCHMARKS / "run.py"

# Crashes on one layer, and is wrong on the others.
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

channels_last = contiguous_format = None
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
    crashed, wrong, nchw = part["layers"]
    for layer in (crashed, wrong, nchw):
        # Of NCHW Eigen has no kernel.
        for name in ("plugin",) if layer is nchw else ("plugin", "tensorflow_eigen"):
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
    assert list(part["left_out"]) == ["3x3", "2x2s2", "nchw"]
    assert "left out" in (tmp_path / "tables.md").read_text()


def test_trainings_are_measured_and_shown_on_the_page(tmp_path: pathlib.Path) -> None:
    folder, page = tmp_path / "benchmarks" / "results", tmp_path / "docs" / "performance.md"
    page.parent.mkdir()
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "training.py", "--model", "tiny", "--steps", "2", "--output", folder],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    trainings = json.loads((folder / "training.json").read_text())["trainings"]
    assert [(t["policy"], t["kernels"]) for t in trainings] == [
        ("float32", "oneDNN"),
        ("float32", "Eigen"),
        ("float32", "XLA"),
        ("mixed_bfloat16", "oneDNN"),
        ("mixed_bfloat16", "Eigen"),
        ("mixed_bfloat16", "XLA"),
    ]
    for training in trainings:
        stock, plugin = training["stock"], training["plugin"]
        assert len(stock["seconds"]) == len(plugin["seconds"]) == 2
        assert min(stock["seconds"] + plugin["seconds"]) > 0
        tolerance = {"float32": 1e-4, "mixed_bfloat16": 1e-2}[training["policy"]]
        np.testing.assert_allclose(plugin["losses"], stock["losses"], rtol=tolerance)

    program = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import report, results
report.write(results.Results("make bench", {}, 0.0, []), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
"""
    subprocess.run([sys.executable, "-c", program, BENCHMARKS, folder, page], check=True)
    rows = [line for line in (folder / "training.md").read_text().splitlines() if line.startswith("| U-Net |")]
    assert len(rows) == 6
    assert set(rows) <= set(page.read_text().splitlines())


def test_readme_shows_the_published_results(tmp_path: pathlib.Path) -> None:
    published = BENCHMARKS.parent / "README.md"
    page = tmp_path / "README.md"
    page.write_text(published.read_text())
    program = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import report, results
report.write_readme(results.Results.load(results.FOLDER / "results.json"), pathlib.Path(sys.argv[2]))
"""
    subprocess.run([sys.executable, "-c", program, BENCHMARKS, page], check=True)
    assert page.read_text() == published.read_text()


def test_a_training_that_fails_is_shown_with_its_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ImportError('no photographs')")
    options = ["--model", "tiny", "--policy", "float32", "--output", tmp_path]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "training.py", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert (tmp_path / "training.md").read_text().count("ended with status 1: ImportError: no photographs") == 3
