"""Layers, by the engine and by PyTorch's cuDNN in benchmark mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from cases import Layer
from device import DeviceProblem, Gpu, Host
from engine import Choice, Engine
from report import Timing

# More than the measured turns of all candidates: what runs afterwards is the tuner's choice.
_TUNING_CALLS = 40


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
        times.append((milliseconds, f"{plan['instance'] or plan['method']} x{plan['slices']}"))
    return min(times)


def _tuned(engine: Engine, tensors: DeviceProblem, tf32: bool) -> tuple[float, str, torch.Tensor]:
    """What TensorFlow's kernel runs once it has measured, cuDNN among the candidates: its time, name and result."""
    out = tensors.empty_result()

    def run() -> str:
        return tensors.compute(engine, out, allow_tf32=tf32, use_cudnn=True)

    for _ in range(_TUNING_CALLS):
        tensors.device.hold()
        run()
        tensors.device.synchronize()  # the times are in before the next call
    return tensors.device.milliseconds(run), run(), out


def run_all(engine: Engine, device: Gpu | Host, layers: Iterable[Layer]) -> Iterator[Timing]:
    torch.backends.cudnn.benchmark = True
    for layer in layers:
        torch.backends.cudnn.allow_tf32 = layer.tf32
        tensors = DeviceProblem(layer.problem, device)
        own_ms, own_plan = _own(engine, tensors, layer.tf32)
        tuned_ms, tuned, result = _tuned(engine, tensors, layer.tf32)
        torch_wgrad = tensors.torch_wgrad()
        cudnn_ms = device.milliseconds(torch_wgrad)
        cudnn_result = torch_wgrad().permute(2, 3, 1, 0)
        difference = float(torch.dist(result.double(), cudnn_result.double()) / torch.linalg.norm(result.double()))
        yield Timing(
            layer.name,
            layer.problem.dtype_name,
            layer.problem.batch,
            layer.tf32,
            layer.problem.flops,
            own_plan,
            own_ms,
            tuned,
            tuned_ms,
            cudnn_ms,
            difference,
        )
