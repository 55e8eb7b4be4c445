"""The command line, mostly without starting a process: TensorFlow takes seconds to import."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import Convolution
from tensorflow_conv_backprop import _build_info, cli
from tensorflow_conv_backprop.attributes import ConvAttributes
from tensorflow_conv_backprop.cli import check, models
from tensorflow_conv_backprop.cli.problem import Problem

ROOT = pathlib.Path(__file__).parents[1]
SMALL = ["1,6,6,4", "3,3,4,8"]


def test_as_a_process() -> None:
    command = [sys.executable, "-m", "tensorflow_conv_backprop", "info"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, cwd="/")
    values = {line[:24].strip(): line[24:].strip() for line in ran.stdout.splitlines()}
    assert values["library"].strip() == plugin.library_path()
    assert values["TensorFlow"].startswith(tf.version.VERSION)
    assert "CPU" in values["kernels"]
    assert values["XLA on CPU"] in ("calls the engine", "its own convolution")
    assert values["algorithm"].strip() == "auto"


def test_exit_code_of_a_process() -> None:
    command = [sys.executable, "-m", "tensorflow_conv_backprop", "plan", "resnet5"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[-1].startswith("error: no model 'resnet5'")
    assert "Traceback" not in ran.stderr


def test_reader_that_stops_early() -> None:
    command = f"{sys.executable} -m tensorflow_conv_backprop plan resnet50 | true; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}  # or TensorFlow says on stderr that oneDNN is on
    ran = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_info_knows_what_is_patched(capsys: pytest.CaptureFixture[str]) -> None:
    def patched() -> str:
        assert cli.main(["info"]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("patched"))
        return line.split(maxsplit=1)[1]

    assert patched() == "nothing in this process"
    with plugin.patched_tensorflow():
        assert patched() == "Conv2D, Conv2DBackpropInput"
    assert patched() == "nothing in this process"


def test_a_gpu_without_kernels_is_not_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: ["/physical_device:GPU:0"])
    monkeypatch.setattr(_build_info, "CUDA_VERSION", None)
    monkeypatch.setattr(check, "_PROBLEMS", check._PROBLEMS[:1])
    assert cli.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "the GPU was not checked: this build has no kernels for it" in printed
    assert "GPU auto" not in " ".join(printed.split())


@pytest.mark.parametrize("problem", check._PROBLEMS)
def test_definition_is_that_of_the_other_tests(problem: Problem) -> None:
    """Both were written without a look at the other."""
    attributes = problem.attributes.in_nhwc()
    (n, h, w, c), pads = problem.input_shape, attributes.explicit_paddings
    if problem.attributes.data_format == "NCHW":
        n, c, h, w = problem.input_shape
    conv = Convolution(
        n, (h, w), c, problem.filter_shape[:2], problem.filter_shape[3], problem.groups,
        attributes.strides[1:3], attributes.dilations[1:3], attributes.padding,
        (pads[2:4], pads[4:6]) if pads else ((0, 0), (0, 0)), problem.attributes.data_format,
    )  # fmt: skip
    assert problem.output_shape == conv.output_shape
    x, dy = problem.data()
    np.testing.assert_allclose(problem.definition(x, dy), conv.filter_gradient(x, dy), rtol=1e-12, atol=1e-9)


@pytest.fixture
def two_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_PROBLEMS", check._PROBLEMS[-2:])


def test_check_passes_and_restores_the_settings(two_problems: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == 0
    assert tf.config.experimental.tensor_float_32_execution_enabled()
    out = capsys.readouterr().out
    assert "checks passed" in out
    assert "depthwise" in out
    assert plugin.get_algorithm() == "auto"


def test_check_finds_a_wrong_result(
    two_problems: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Problem.filter_gradient

    def wrong(problem: Problem, x: np.ndarray, w: tf.Tensor, dy: np.ndarray) -> tf.Tensor:
        dw = right(problem, x, w, dy)
        return dw + tf.cast(1e-2, dw.dtype) if problem.dtype == "float64" else dw

    monkeypatch.setattr(Problem, "filter_gradient", wrong)
    assert cli.main(["check"]) == 1
    out = capsys.readouterr().out
    failures = [line for line in out.splitlines() if "the relative error is" in line]
    assert failures
    assert all("float64" in line for line in failures)
    assert f"{len(failures)} of" in out


def test_check_finds_a_result_that_changes(
    two_problems: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Problem.filter_gradient
    calls = []

    def unsteady(problem: Problem, x: np.ndarray, w: tf.Tensor, dy: np.ndarray) -> tf.Tensor:
        calls.append(problem)
        return right(problem, x, w, dy) * tf.constant(1 + 1e-15 * (len(calls) % 2), problem.dtype)

    monkeypatch.setattr(Problem, "filter_gradient", unsteady)
    assert cli.main(["check"]) == 1
    assert "two runs differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "conv"),
    [
        (["2,28,28,64", "3,3,64,64"], Convolution(2, (28, 28), 64, filters=64, padding="SAME")),
        (
            ["2,6,28,20", "3,3,3,4", "--data-format", "NCHW", "--strides", "2", "--padding", "1,2,3,4"],
            Convolution(
                2, (28, 20), 6, filters=4, groups=2, strides=(2, 2), padding="EXPLICIT", pads=((1, 2), (3, 4)),
                data_format="NCHW",
            ),
        ),
        (
            ["2,28,20,6", "3,3,6,4", "--strides", "2,1", "--dilations", "1,3", "--padding", "1,2,3,4"],
            Convolution(
                2, (28, 20), 6, filters=4, strides=(2, 1), dilations=(1, 3), padding="EXPLICIT", pads=((1, 2), (3, 4))
            ),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_plan_is_that_of_the_function(
    arguments: list[str], conv: Convolution, dtype: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", *arguments, "--dtype", dtype]) == 0
    expected = plugin.plan(conv.input_shape, conv.filter_shape, dtype=dtype, **conv.attributes)
    assert capsys.readouterr().out.partition("\n")[2].strip() == str(expected)


def test_plan_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "resnet50", "--algorithm", "direct"]) == 0
    assert capsys.readouterr().out.count("\ndirect (") == len(models.layers("resnet50"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "8,28,28", "3,3,64,64"], "INPUT must be four positive integers such as 8,28,28,64, got 8,28,28"),
        (["plan", "8,28,28,64", "3,3,64,x"], "FILTER must be four positive integers such as 8,28,28,64, got 3,3,64,x"),
        (["plan", *SMALL, "--padding", "1,2"], "--padding must be SAME, VALID or top,bottom,left,right, got 1,2"),
        (["plan", *SMALL, "--strides", "1,2,3"], "strides must be 1, 2 or 4 integers, got (1, 2, 3)"),
        (["plan", *SMALL, "--strides", "0"], "strides must be positive and below 2^31, got (0,)"),
        (["plan", "1,6,6,4", "3,3,3,8"], "Depth of input (4) is not a multiple of input depth of filter (3)"),
        (["plan", *SMALL, "--algorithm", "depthwise"], "algorithm 'depthwise' cannot compute this problem"),
        (["plan", *SMALL, "--batch", "2"], "--batch is for a model"),
        (["plan", f"{10**20},8,8,1", "3,3,1,1"], "convert"),
        (["bench", "vgg16", "--batch", "0"], "--batch must be positive, got 0"),
        (["plan", "vgg16", "--strides", "2"], "--strides is for shapes"),
        (["bench", *SMALL, "--plot", "bench.doc"], "got bench.doc"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_bench_of_an_algorithm_that_declines(capsys: pytest.CaptureFixture[str]) -> None:
    plugin.set_algorithm("winograd")
    try:
        assert cli.main(["bench", "1,6,6,4", "5,5,4,4"]) == 2
    finally:
        plugin.set_algorithm("auto")
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith(
        "error: 1,6,6,4 5,5,4,4: algorithm 'winograd' cannot compute this problem: the filter is not"
    )
    assert "[Op:" not in line


@pytest.mark.parametrize("arguments", [["check"], ["plan", "resnet50"], ["bench", *SMALL]])
def test_unknown_algorithm_in_the_environment(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tensorflow_conv_backprop", *arguments],
        env={**os.environ, "TF_CONV_BACKPROP_ALGORITHM": "fast"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == (
        "error: TF_CONV_BACKPROP_ALGORITHM must be one of auto, direct, winograd, depthwise, reference, got fast"
    )


@pytest.mark.parametrize("command", ["info", "check", "plan", "bench"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    assert f"tensorflow_conv_backprop {command}" in capsys.readouterr().out


def test_bench_json_and_plot(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "bench.png"
    assert cli.main(["bench", *SMALL, "--seconds", "0", "--json", "--plot", str(plot)]) == 0
    report = json.loads(capsys.readouterr().out)
    (result,) = report["results"]
    assert report["tensorflow"] == tf.version.VERSION
    assert result["algorithm"] in ("direct", "winograd")
    assert result["gflop"] == pytest.approx(2 * 6 * 6 * 3 * 3 * 4 * 8 / 1e9)
    assert result["plugin_ms"] > 0
    assert result["tensorflow_ms"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_bench_says_where_tensorflow_has_no_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    with tf.device("/CPU:0"):
        assert cli.main(["bench", "1,6,6,4", "3,3,1,4", "--dtype", "float64", "--seconds", "0"]) == 0
    out = capsys.readouterr().out
    assert "no kernel" in out
    assert "depthwise" in out


def test_unwritable_plot_is_an_error_on_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", *SMALL, "--seconds", "0", "--plot", str(tmp_path / "missing" / "bench.png")]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")


def test_more_than_memory_holds_is_an_error_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", f"{2**40},64,64,64", "3,3,64,64"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: Unable to allocate")


@pytest.mark.parametrize(
    ("module", "arguments"), [("rich.progress", ["check"]), ("matplotlib.pyplot", ["bench", *SMALL, "--plot", "x.png"])]
)
def test_missing_extra(
    module: str, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line == (
        f"error: this command needs {module.partition('.')[0]}, which is not installed: "
        "pip install 'tensorflow-conv-backprop[cli]'"
    )


@pytest.mark.parametrize(
    ("model", "convolutions", "multiplications"), [("resnet50", 53, 4.09e9), ("vgg16", 13, 15.35e9), ("mobilenet_v2", 52, 0.30e9)]
)  # fmt: skip
def test_models_have_their_published_sizes(model: str, convolutions: int, multiplications: float) -> None:
    layers = models.layers(model)
    assert sum(layers.values()) == convolutions
    flops = 0
    for layer, times in layers.items():
        shape = (1, layer.image, layer.image, layer.channels)
        filters = (layer.kernel, layer.kernel, layer.channels // layer.groups, layer.filters)
        problem = Problem(shape, filters, ConvAttributes.of_arguments(layer.stride, "SAME", "NHWC", 1))
        flops += times * problem.flops
    assert flops / 2 == pytest.approx(multiplications, rel=0.02)


@pytest.mark.parametrize("model", ["resnet50", "vgg16"])
def test_models_are_those_of_the_benchmarks(model: str) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_layers", ROOT / "benchmarks" / "layers.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    theirs = {(x.size, x.channels, x.filters, x.kernel, x.stride, x.groups): x.count for x in module.MODELS[model]}
    assert theirs == dict(models.layers(model))
