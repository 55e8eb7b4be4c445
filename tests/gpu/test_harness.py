"""The harness's own logic, without a GPU."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import cases
import engine
import numpy as np
import pytest
import report
import sanitizer
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
    groups = len(cases.GROUP_CLASSES) - 1 + len(cases.ALIGNED_CHANNELS) + 1  # and the folded
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
    layers = cases.resnet50("float16", False, 32).layers
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
    timings = report.Timings("float16", 32, 300)
    for layer, own_ms, tuned_ms, cudnn_ms, difference in (("a", 2, 1, 1, 1e-4), ("b", 1, 1, 8, None)):
        timings.layers.append(
            report.Timing(layer, 2e10, "tile", own_ms, "cudnn", tuned_ms, cudnn_ms, difference),
        )
    text = "\n".join(report.performance_section(timings))
    assert "2.00x by the own kernels, 2.83x with cuDNN" in text
    assert "reaches 300.0 TFLOP/s" in text
    assert "| a | tile | 2.000 | 10.0 | 1.000 | 20.0 | 0.50x | cudnn | 1.000 | 1.00x | 1.00e-04 |" in text
    assert "8.00x | none FAILED |" in text
    assert timings.failed


def test_report_where_nothing_could_be_timed() -> None:
    timings = report.Timings("float16", 32, failures={"a": "no memory"})
    assert "- FAILED: a: no memory" in report.performance_section(timings)
    assert timings.failed


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


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.mark.skipif(_sees_gpu(), reason="this machine has a GPU")
def test_no_gpu_is_one_clear_line() -> None:
    result = _run()
    assert result.returncode == 2
    assert result.stderr.startswith("test-gpu: ")
    assert result.stderr.count("\n") == 1


def test_no_numpy_is_one_clear_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "numpy.py").write_text("raise ImportError")
    result = _run("--only", "build", PYTHONPATH=str(tmp_path))
    assert result.returncode == 2
    assert result.stderr == "test-gpu: NumPy is not installed: pip install numpy; nothing was checked\n"


@pytest.mark.parametrize("library", ["nowhere.so", np.linalg._umath_linalg.__file__])
def test_a_library_that_is_not_the_engine_is_one_clear_line(library: str) -> None:
    pytest.importorskip("torch")
    result = _run("--host", "--library", library)
    assert result.returncode == 2
    assert result.stderr.startswith(f"test-gpu: {library} is not the engine: ")
    assert result.stderr.count("\n") == 1


_FAKE_NVCC = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = --version ] && echo "Cuda compilation tools, release 13.0, V13.0.88"
while [ $# -gt 0 ]; do
  [ "$1" = -o ] && : > "$2"
  shift
done
exit 0
"""


def _install_cutlass(include: pathlib.Path) -> None:
    (include / "cutlass").mkdir(parents=True)
    (include / "cutlass/cutlass.h").touch()


def _install_toolkit(monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> pathlib.Path:
    """With a compiler that compiles nothing, and CUTLASS."""
    (folder / "bin").mkdir()
    nvcc = folder / "bin/nvcc"
    nvcc.write_text(_FAKE_NVCC.format(log=folder / "log"))
    nvcc.chmod(0o755)
    _install_cutlass(folder / "include")
    monkeypatch.setenv("CUDA_HOME", str(folder))
    monkeypatch.setenv("CUTLASS_INCLUDE", str(folder / "include"))
    return nvcc


def test_products_that_wait_for_one_another_are_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    nvcc = _install_toolkit(monkeypatch, tmp_path)
    remark = "ptxas info    : (C7512) Potential Performance Loss: wgmma.mma_async instructions are serialized due to"
    nvcc.write_text(nvcc.read_text().replace("exit 0", f'echo "{remark}" >&2'))
    for _ in range(2):
        with pytest.raises(engine.EngineError, match="are serialized"):
            engine.build(tmp_path / "build", "sm_90", 2, print)


def test_a_build_is_of_one_architecture_and_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    _install_toolkit(monkeypatch, tmp_path)
    library = engine.build(tmp_path / "build", "sm_90", 2, print)
    assert library == tmp_path / "build/sm_90-nvcc13.0.88" / engine.LIBRARY_NAME
    compiling = [line for line in (tmp_path / "log").read_text().splitlines() if " -c " in line]
    assert len(compiling) == len([*engine.SOURCES.glob("*.cc")]) + 1
    of_hopper = [line for line in compiling if "wgmma.cu.cc" in line]
    assert ["-gencode=arch=compute_90a,code=sm_90a" in line and "-arch=" not in line for line in of_hopper] == [True]
    assert all("-arch=sm_90" in line for line in compiling if line not in of_hopper)
    for option in ("-DWGRAD_CUDA_OLDEST=90", f"-I{tmp_path}/include"):
        assert all(option in line for line in compiling)


def test_what_is_built_needs_no_cutlass(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    _install_toolkit(monkeypatch, tmp_path)
    monkeypatch.setattr(engine, "find_cutlass", _refuse)
    library = tmp_path / "sm_90-nvcc13.0.88" / engine.LIBRARY_NAME
    library.parent.mkdir()
    library.touch()
    assert engine.build(tmp_path, "sm_90", 2, print) == library


def test_an_installed_cutlass_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cutlass_library").mkdir()
    (tmp_path / "cutlass_library/__init__.py").touch()
    include = tmp_path / "cutlass_library/source/include"
    _install_cutlass(include)
    monkeypatch.delenv("CUTLASS_INCLUDE", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert engine.find_cutlass(tmp_path / "build") == include


def _sanitized(script: str, seconds: float = 60) -> str:
    return sanitizer.result_of(["sh", "-c", script], seconds)


def test_a_sanitizer_passes_where_it_saw_checks() -> None:
    assert (
        _sanitized("echo '===== COMPUTE-SANITIZER'; echo 'subset: 123 checks of 45 kernels'; echo warning >&2")
        == "passed, 123 checks of 45 kernels"
    )


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("true", "it checked nothing"),
        ("echo 'subset: 0 checks of 0 kernels'", "it checked nothing"),
        ("echo 'subset: 123 checks of 45 kernels'; echo invalid write; exit 99", "exit status 99"),
        ("echo Traceback >&2; exit 1", "exit status 1"),
    ],
)
def test_a_sanitizer_fails(script: str, why: str) -> None:
    result = _sanitized(script)
    assert result.startswith(f"{sanitizer.FAILED}: {why}\n")
    for said in ("invalid write", "Traceback"):
        assert (said in result) == (said in script)


def test_a_sanitizer_that_refuses_the_device_does_not_fail() -> None:
    result = _sanitized("echo '========= Error: Device not supported'; exit 1")
    assert result == "not run: compute-sanitizer does not support the device here"


def test_a_sanitizer_that_does_not_finish_fails_and_ends_all_it_started(tmp_path: pathlib.Path) -> None:
    late = tmp_path / "late"
    result = _sanitized(f"(sleep 1; touch {late}) & echo 'subset: 123 checks of 45 kernels'; echo a hazard; wait", 0.2)
    assert result.startswith(f"{sanitizer.FAILED}: not finished after 0.2 s\n")
    assert "a hazard" in result
    time.sleep(1.2)
    assert not late.exists()


@pytest.fixture(scope="module")
def host_engine() -> engine.Engine:
    """The engine on the processor, and PyTorch's tensors there: all of the harness but the GPU."""
    pytest.importorskip("torch")
    return engine.Engine(engine.build_for_host(engine.ROOT / "build/gpu", 2, print))


@pytest.mark.usefixtures("host_engine")
def test_all_of_it_on_the_host(tmp_path: pathlib.Path) -> None:
    result = _run("--host", "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "all passed" in result.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    plans = " ".join(outcome["plan"] for outcome in results["correctness"])
    for kernel in ("F16Align8", "BF16Align2", "Tf32", "F32Async", "F64Dmma", "depthwise", "general", "in rounds"):
        assert kernel in plans
    captured = [each["case"] for each in results["correctness"] if "captured" in each["case"]]
    assert len(captured) == 2 * len(DTYPES)
    arithmetics = {timings["arithmetic"]: len(timings["layers"]) for timings in results["performance"]}
    assert arithmetics == {"float32": 2, "float32 (tf32)": 2}
    text = (tmp_path / "results.md").read_text()
    assert text.startswith("# The harness, tried out on the host: ")
    assert "checks passed" in text


@pytest.mark.usefixtures("host_engine")
def test_the_subset_shows_a_sanitizer_that_it_ran() -> None:
    command = [sys.executable, str(HERE / "run.py"), "--host", "--only", "subset"]
    assert re.fullmatch(r"passed, \d\d+ checks of 2\d kernels", sanitizer.result_of(command))


class Broken:
    """An engine whose calls `harm` spoils: it is given the problem, the tensors and, of launches, the workspace."""

    def __init__(self, sound: engine.Engine, harm) -> None:
        self._sound, self._harm = sound, harm

    def __getattr__(self, name: str):
        return getattr(self._sound, name)

    def launch(self, problem, choice, tensors, workspace) -> None:
        self._sound.launch(problem, choice, tensors, workspace)
        self._harm(problem, tensors, workspace)

    def compute(self, problem, tensors, allocate, **settings) -> str:
        ran = self._sound.compute(problem, tensors, allocate, **settings)
        self._harm(problem, tensors, None)
        return ran


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


def _refuse_8_channels(problem, *_) -> None:
    if problem.out_channels == 8:
        raise engine.EngineError("out of order\nsince yesterday")


def test_a_layer_that_fails_leaves_the_others_their_times(host_engine: engine.Engine, tmp_path: pathlib.Path) -> None:
    import device
    import stages

    broken = Broken(host_engine, _refuse_8_channels)
    assert stages.run_all(broken, device.Host(), pathlib.Path(), tmp_path, "performance", print) == 1
    for timings in json.loads((tmp_path / "results.json").read_text())["performance"]:
        assert timings["failures"] == {"7x7 16->8 3x3/1": "out of order"}
        assert [layer["layer"] for layer in timings["layers"]] == ["7x7 16->24 3x3/1"]


def test_a_result_that_is_not_finite_fails(host_engine: engine.Engine) -> None:
    import device
    import performance

    broken = Broken(host_engine, lambda problem, tensors, _: _write(tensors.filter_backprop, float("nan")))
    timings = performance.measure(broken, device.Host(), cases.few_networks()[0], print)
    assert timings.failed
    assert [layer.difference for layer in timings.layers] == [None, None]
    json.dumps(dataclasses.asdict(timings), allow_nan=False)


def test_a_lost_device_ends_the_timings(host_engine: engine.Engine, tmp_path: pathlib.Path) -> None:
    import device
    import stages

    class Lost(device.Host):
        lost = False

        def synchronize(self) -> None:
            if self.lost:
                raise RuntimeError("an illegal memory access was encountered")

    losing = Lost()

    def lose(*_) -> None:
        losing.lost = True
        losing.synchronize()

    assert stages.run_all(Broken(host_engine, lose), losing, pathlib.Path(), tmp_path, "performance", print) == 1
    (timings,) = json.loads((tmp_path / "results.json").read_text())["performance"]
    assert timings["failures"] == {"7x7 16->8 3x3/1": "an illegal memory access was encountered"}
    assert timings["layers"] == []


def test_no_memory_for_a_workspace_is_an_error_of_the_engine(
    host_engine: engine.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    import device

    problem = make_problem("float32", batch=2, size=(5, 5), filter_size=(3, 3), group_channels=(4, 4))
    tensors = device.DeviceProblem(problem, device.Host())
    out = tensors.empty_result()

    def refuse(*_, **__) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(device.torch, "empty", refuse)
    with pytest.raises(engine.EngineError, match="no device memory for a workspace"):
        tensors.compute(host_engine, out, allow_tf32=False, use_cudnn=False)


def test_longer_sums_may_err_more(host_engine: engine.Engine) -> None:
    import correctness

    problem = make_problem("float32", batch=9, size=(33, 35), filter_size=(1, 1), group_channels=(264, 136))
    allowed = {str(run): run.allowed for run in correctness._runs(host_engine, problem) if run.slices == 1}
    assert allowed["F32AsyncTile64x64 tf32=False slices=1"] > tolerance("float32", tf32=False)
