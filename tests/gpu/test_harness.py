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


_CPP_TYPES = {
    ctypes.c_char_p: "const char*",
    ctypes.c_int: "int",
    ctypes.c_int64: "int64_t",
    ctypes.c_void_p: "void*",
    ctypes.POINTER(Problem): "const wgrad::Problem*",
    ctypes.POINTER(engine.Choice): "const WgradCudaChoice*",
    ctypes.POINTER(engine.Tensors): "const WgradCudaTensors*",
    engine.Allocate: "WgradCudaAllocate",
}


def test_ctypes_signatures_are_those_of_the_header() -> None:
    lines = ['#include "tf_ops/wgrad/cuda/c_api.h"', "#include <type_traits>"]
    for name, (result, arguments) in engine.SIGNATURES.items():
        signature = f"{_CPP_TYPES[result]} (*)({', '.join(_CPP_TYPES[each] for each in arguments)})"
        lines.append(f'static_assert(std::is_same_v<decltype(&wgrad_cuda_{name}), {signature}>, "{name}");')
    command = ["g++", "-std=c++17", f"-I{engine.ROOT}", "-fsyntax-only", "-x", "c++", "-"]
    result = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


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


def test_few_problems_are_of_every_class() -> None:
    few, every = cases.few_problems(), list(cases.contract_problems())
    for field in ("dtype", "layout", "stride_height", "dilation_height", "pad_top", "groups", "filter_channels"):
        assert {getattr(p, field) for p in few} == {getattr(p, field) for p in every}


@pytest.mark.parametrize("alignment", cases.ALIGNED_CHANNELS)
def test_alignment_classes(alignment: int) -> None:
    channels = cases.ALIGNED_CHANNELS[alignment]
    assert all(count % alignment == 0 for count in channels)
    assert alignment == 8 or any(count % (2 * alignment) for count in channels)


def test_resnet50() -> None:
    layers = cases.resnet50_layers("float16", False, 32)
    assert cases.resnet50_convolutions() == 53
    first = next(layer.problem for layer in layers if layer.name == "224x224 3->64 7x7/2")
    assert (first.out_height, first.filter_shape) == (112, (7, 7, 3, 64))
    # 4.09 billion multiply-adds per image forward, as many for the filter gradient.
    total = sum(layer.problem.flops * count for layer, (*_, count) in zip(layers, cases._RESNET50, strict=True))
    assert total / 2 / 32 == pytest.approx(4.09e9, rel=0.01)


def test_report() -> None:
    outcomes = [
        report.Outcome("a problem", "a plan", 1e-7, 1e-6),
        report.Outcome("another", "a plan", 1.0, 1e-6, "error above the tolerance"),
        report.Outcome("a third", "a plan", None, 1e-6, "no memory"),
    ]
    text = "\n".join(report.correctness_section(outcomes))
    assert "1 of 3 checks passed" in text
    assert "| another | a plan | 1.00e+00 | 1.00e-06 | error above the tolerance |" in text
    assert "| a third | a plan | none | 1.00e-06 | no memory |" in text
    timings = [
        report.Timing(layer, "float16", 32, False, 2e10, "tile", own_ms, "cudnn", tuned_ms, cudnn_ms, difference)
        for layer, own_ms, tuned_ms, cudnn_ms, difference in (("a", 2, 1, 1, 1e-4), ("b", 1, 1, 8, float("nan")))
    ]
    text = "\n".join(report.performance_section(timings, {"float16": 300}))
    assert "2.00x by the own kernels, 2.83x with cuDNN" in text
    assert "| a | tile | 2.000 | 10.0 | 1.000 | 20.0 | 0.50x | cudnn | 1.000 | 1.00x | 1.0e-04 |" in text
    assert "8.00x | nan FAILED |" in text


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


@pytest.fixture(scope="module")
def host_engine() -> engine.Engine:
    """The engine on the processor, and PyTorch's tensors there: all of the harness but the GPU."""
    pytest.importorskip("torch")
    return engine.Engine(engine.build_for_host(engine.ROOT / "build/gpu", 2, print))


@pytest.mark.usefixtures("host_engine")
def test_all_of_it_on_the_host(tmp_path: pathlib.Path) -> None:
    command = [sys.executable, str(HERE / "run.py"), "--host", "--out", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "all passed" in result.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    plans = " ".join(outcome["plan"] for outcome in results["correctness"])
    for kernel in ("F16Align8", "BF16Align2", "Tf32", "F32Simt", "F64Dmma", "depthwise", "general", "in rounds"):
        assert kernel in plans
    assert len(results["performance"]) == len(cases.few_layers())
    assert set(results["peak_tflops"]) == {"float32", "float32 (tf32)"}
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("# The harness, tried out on the host: ")
    assert "checks passed" in text


class Broken:
    """An engine whose launches `harm` spoils: it is given the problem, the tensors and the workspace."""

    def __init__(self, sound: engine.Engine, harm) -> None:
        self._sound, self._harm = sound, harm

    def __getattr__(self, name: str):
        return getattr(self._sound, name)

    def launch(self, problem, choice, tensors, workspace) -> None:
        self._sound.launch(problem, choice, tensors, workspace)
        self._harm(problem, tensors, workspace)


def _write(address: int, value: float) -> None:
    ctypes.c_float.from_address(address).value = value


def _refuse(*_) -> None:
    raise engine.EngineError("out of order")


_counter = itertools.count(1)

HARMS = {
    "error above the tolerance": lambda problem, tensors, _: _write(tensors.filter_backprop, float("nan")),
    "two runs differ": lambda problem, tensors, _: _write(tensors.filter_backprop, 1e-30 * next(_counter)),
    "wrote outside its memory": lambda problem, tensors, workspace: _write(workspace - 4, 0.0),
    "out of order": _refuse,
}


@pytest.mark.parametrize("failure", HARMS)
def test_failures_are_found(host_engine: engine.Engine, failure: str) -> None:
    import correctness
    import device

    problem = make_problem("float32", batch=2, size=(5, 5), filter_size=(3, 3), group_channels=(4, 4))
    sound = list(correctness.check_problem(host_engine, device.Host(), problem))
    broken = list(correctness.check_problem(Broken(host_engine, HARMS[failure]), device.Host(), problem))
    assert [outcome.failure for outcome in sound] == [""] * len(sound)
    assert [outcome.failure for outcome in broken] == [failure] * len(sound)


def test_a_lost_device_ends_the_checks(host_engine: engine.Engine) -> None:
    import correctness
    import device

    class Lost(device.Host):
        def synchronize(self) -> None:
            raise RuntimeError("an illegal memory access was encountered")

    problem = make_problem("float32", batch=2, size=(5, 5), filter_size=(3, 3), group_channels=(4, 4))
    with pytest.raises(correctness.DeviceLostError, match="an illegal memory access was encountered: float32 NHWC"):
        list(correctness.check_problem(host_engine, Lost(), problem))


def test_longer_sums_may_err_more(host_engine: engine.Engine) -> None:
    import correctness

    problem = make_problem("float32", batch=9, size=(33, 35), filter_size=(1, 1), group_channels=(264, 136))
    allowed = {name: error for _, name, error in correctness._choices(host_engine, problem) if "slices=1" in name}
    assert allowed["F32SimtTile64x64 tf32=False slices=1"] > tolerance("float32", tf32=False)
