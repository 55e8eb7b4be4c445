"""The harness's own logic, without a GPU."""

from __future__ import annotations

import ctypes
import itertools
import json
import pathlib
import subprocess
import sys

import cases
import engine
import numpy as np
import pytest
import report
from problem import DTYPES, Problem, make_problem, reference, relative_error, tolerance

HERE = pathlib.Path(__file__).parent

_LAYOUT_PROGRAM = """
#include <cstddef>
#include <iostream>
#include "tf_ops/wgrad/cuda/c_api.h"
int main() {{
  std::cout << "[";
  {prints}
  std::cout << "0]";
}}
"""


def _offsets_in_cpp(tmp_path: pathlib.Path, name: str, fields: list[str]) -> list[int]:
    """sizeof, then offsetof each field."""
    prints = f'std::cout << sizeof({name}) << ", ";' + "".join(
        f'std::cout << offsetof({name}, {field}) << ", ";' for field in fields
    )
    source = tmp_path / "layout.cc"
    source.write_text(_LAYOUT_PROGRAM.format(prints=prints))
    program = tmp_path / "layout"
    subprocess.run(["g++", "-std=c++17", f"-I{engine.ROOT}", str(source), "-o", str(program)], check=True)
    return json.loads(subprocess.run([str(program)], capture_output=True, check=True).stdout)[:-1]


@pytest.mark.parametrize(
    ("mirror", "name"),
    [(Problem, "wgrad::Problem"), (engine.Choice, "WgradCudaChoice"), (engine.Tensors, "WgradCudaTensors")],
)
def test_ctypes_structures_lie_in_memory_as_in_cpp(
    tmp_path: pathlib.Path, mirror: type[ctypes.Structure], name: str
) -> None:
    fields = [field for field, *_ in mirror._fields_]
    here = [ctypes.sizeof(mirror), *(getattr(mirror, field).offset for field in fields)]
    assert here == _offsets_in_cpp(tmp_path, name, fields)


def test_reference_by_hand() -> None:
    problem = make_problem(
        "float64", batch=1, size=(1, 3), filter_size=(1, 2), group_channels=(1, 1), padding=((0, 0), (1, 0))
    )
    x = np.array([1.0, 2.0, 3.0]).reshape(problem.input_shape)
    dy = np.array([10.0, 100.0, 1000.0]).reshape(problem.output_shape)
    # The left tap sees (pad, 1, 2), the right one (1, 2, 3).
    assert reference(problem, x, dy).ravel().tolist() == [2100.0, 3210.0]


def _by_loops(p: Problem, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    result = np.zeros(p.filter_shape)
    if p.layout == 1:
        x, dy = x.transpose(0, 2, 3, 1), dy.transpose(0, 2, 3, 1)
    for kh, kw, c, f in np.ndindex(*p.filter_shape):
        channel = f // (p.out_channels // p.groups) * p.filter_channels + c
        for n, oh, ow in np.ndindex(p.batch, p.out_height, p.out_width):
            h = oh * p.stride_height + kh * p.dilation_height - p.pad_top
            w = ow * p.stride_width + kw * p.dilation_width - p.pad_left
            if 0 <= h < p.in_height and 0 <= w < p.in_width:
                result[kh, kw, c, f] += x[n, h, w, channel] * dy[n, oh, ow, f]
    return result


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize(
    ("stride", "dilation", "padding", "groups"),
    list(itertools.product([(1, 1), (3, 2)], [(1, 1), (2, 3)], [((0, 0), (0, 0)), ((3, 1), (0, 4))], [1, 3])),
)
def test_reference_is_the_definition(layout: str, stride, dilation, padding, groups: int) -> None:
    problem = make_problem(
        "float64", batch=2, size=(7, 8), filter_size=(3, 2), group_channels=(2, 3), groups=groups, stride=stride,
        dilation=dilation, padding=padding, layout=layout,
    )  # fmt: skip
    random = np.random.default_rng(1)
    x, dy = random.standard_normal(problem.input_shape), random.standard_normal(problem.output_shape)
    np.testing.assert_allclose(reference(problem, x, dy), _by_loops(problem, x, dy), rtol=1e-12, atol=1e-12)


def test_a_window_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        make_problem("float32", batch=1, size=(2, 2), filter_size=(3, 3), group_channels=(1, 1))


def test_relative_error_of_what_is_not_finite_is_infinite() -> None:
    assert relative_error(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == float("inf")
    assert relative_error(np.array([0.0]), np.array([0.0])) == 0.0
    assert relative_error(np.array([3.0, 4.1]), np.array([3.0, 4.0])) == pytest.approx(0.02)


def test_rounding_alone_stays_within_the_tolerance() -> None:
    values = np.random.default_rng(2).standard_normal(10_000)
    for dtype in ("float16", "float32"):
        assert relative_error(values.astype(dtype), values) <= tolerance(dtype, tf32=False)


def test_every_class_meets_every_other() -> None:
    seen = {
        (
            p.dtype, p.layout, p.stride_height, p.dilation_height, p.pad_top, p.pad_left,
            p.groups, p.filter_channels, p.out_channels,
        )
        for p in cases.contract_problems()
    }  # fmt: skip
    groups = len(cases.GROUP_CLASSES) - 1 + len(cases.ALIGNED_CHANNELS)
    windows = len(cases.STRIDES) * len(cases.DILATIONS) * len(cases.PADDINGS)
    assert len(seen) == len(DTYPES) * 2 * windows * groups
    assert {p.dtype_name for p in cases.wide_problems()} == set(DTYPES)


@pytest.mark.parametrize("alignment", cases.ALIGNED_CHANNELS)
def test_alignment_classes(alignment: int) -> None:
    channels = cases.ALIGNED_CHANNELS[alignment]
    assert all(count % alignment == 0 for count in channels)
    assert alignment == 8 or any(count % (2 * alignment) for count in channels)


def test_resnet50() -> None:
    layers = dict(cases.resnet50_layers("float16", 32))
    assert cases.resnet50_convolutions() == 53
    first = layers["224x224 3->64 7x7/2"]
    assert (first.out_height, first.filter_shape) == (112, (7, 7, 3, 64))
    # 4.09 billion multiply-adds per image forward, as many for the filter gradient.
    total = sum(problem.flops * count for problem, (*_, count) in zip(layers.values(), cases._RESNET50, strict=True))
    assert total / 2 / 32 == pytest.approx(4.09e9, rel=0.01)


def test_report() -> None:
    outcomes = [
        report.Outcome("a problem", "a plan", 1e-7, 1e-6),
        report.Outcome("another", "a plan", 1.0, 1e-6, "error above the tolerance"),
    ]
    text = "\n".join(report.correctness_section(outcomes))
    assert "1 of 2 checks passed" in text
    assert "| another | a plan | 1.00e+00 | 1.00e-06 | error above the tolerance |" in text
    timings = [
        report.Timing("a", "float16", 32, False, "tile", own_ms=2, cudnn_ms=1, own_tflops=10, cudnn_tflops=20),
        report.Timing("b", "float16", 32, False, "tile", own_ms=1, cudnn_ms=8, own_tflops=10, cudnn_tflops=20),
    ]
    text = "\n".join(report.performance_section(timings, {"float16": 300}))
    assert "2.00x by the own kernels, 2.83x with cuDNN" in text
    assert "| a | tile | 2.000 | 10.0 | 1.000 | 20.0 | 0.50x |" in text


def test_no_compiler_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(engine.pathlib.Path, "exists", lambda self: False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(engine.EngineError, match="no nvcc: set CUDA_HOME"):
        engine.find_nvcc()


def _sees_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.mark.skipif(_sees_gpu(), reason="this machine has a GPU")
def test_no_gpu_is_one_clear_line() -> None:
    result = subprocess.run([sys.executable, str(HERE / "run.py")], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("test-gpu: ")
    assert result.stderr.count("\n") == 1
