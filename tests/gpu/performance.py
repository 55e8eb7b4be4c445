"""Layers, by the engine and by PyTorch's cuDNN in benchmark mode."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from cases import Layer, Network
from device import DeviceProblem, Gpu, Host, is_lost
from engine import Choice, Engine
from report import Timing, Timings, first_line

# More than the measured turns of all candidates: what runs afterwards is the tuner's choice.
_TUNING_CALLS = 100


def peak_tflops(device: Gpu | Host, dtype: str, tf32: bool) -> float:
    """What a large matrix product reaches on this device: the ceiling to compare with."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    size = device.peak_size
    a, b = (torch.randn(size, size, device=device.name).to(getattr(torch, dtype)) for _ in range(2))
    return 2.0 * size**3 / device.milliseconds(lambda: torch.mm(a, b)) / 1e9


def _own(engine: Engine, tensors: DeviceProblem, tf32: bool) -> tuple[float, str]:
    """The time and the name of the fastest of the engine's own plans."""
    problem = tensors.problem
    out = tensors.empty_result()
    arguments = tensors.tensors(out.data_ptr())

    def run_of(choice: Choice) -> Callable[[], None]:
        size = engine.workspace_bytes(problem, choice)
        workspace = torch.empty(size, dtype=torch.uint8, device=tensors.device.name)
        return lambda: engine.launch(problem, choice, arguments, workspace.data_ptr())

    times = []
    for index, plan in enumerate(engine.plans(problem, Choice(allow_tf32=tf32))):
        milliseconds = tensors.device.milliseconds(run_of(Choice(allow_tf32=tf32, plan=index)))
        clusters = " in clusters" if plan["in_clusters"] else ""
        times.append((milliseconds, f"{plan['instance'] or plan['method']} x{plan['slices']}{clusters}"))
    return min(times)


def _tuned(engine: Engine, tensors: DeviceProblem, tf32: bool) -> tuple[float, str, torch.Tensor]:
    """What TensorFlow's kernel runs once it has measured, cuDNN among the candidates: its time, name and result."""
    out = tensors.empty_result()

    def run() -> str:
        return tensors.compute(engine, out, allow_tf32=tf32, use_cudnn=True)

    for _ in range(_TUNING_CALLS):
        tensors.device.hold(1)
        run()
        tensors.device.synchronize()  # the times are in before the next call
    return tensors.device.milliseconds(run), run(), out


def _time(engine: Engine, device: Gpu | Host, layer: Layer, tf32: bool) -> Timing:
    tensors = DeviceProblem(layer.problem, device)
    own_ms, own_plan = _own(engine, tensors, tf32)
    tuned_ms, tuned, result = _tuned(engine, tensors, tf32)
    torch_wgrad = tensors.torch_wgrad()
    cudnn_ms = device.milliseconds(torch_wgrad)
    cudnn_result = torch_wgrad().permute(2, 3, 1, 0)
    difference = float(torch.dist(result.double(), cudnn_result.double()) / torch.linalg.norm(result.double()))
    return Timing(
        layer.name,
        layer.problem.flops,
        own_plan,
        own_ms,
        tuned,
        tuned_ms,
        cudnn_ms,
        difference if math.isfinite(difference) else None,
    )


def measure(engine: Engine, device: Gpu | Host, network: Network, say: Callable[[str], None]) -> Timings:
    """What fails leaves the other layers their times, as long as the device lasts."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = network.tf32
    timings = Timings(network.dtype + (" (tf32)" if network.tf32 else ""), network.batch)
    try:
        timings.peak_tflops = peak_tflops(device, network.dtype, network.tf32)
    except RuntimeError as error:
        timings.failures["a matrix product"] = first_line(error)
    for layer in network.layers:
        if is_lost(device):
            break
        try:
            timing = _time(engine, device, layer, network.tf32)
        except RuntimeError as error:  # the engine's errors and PyTorch's, such as want of memory
            timings.failures[layer.name] = first_line(error)
            continue
        timings.layers.append(timing)
        say(f"{timings.arithmetic} batch {timings.batch} {layer.name}: {timing.own_ratio:.2f}x cuDNN")
    return timings
