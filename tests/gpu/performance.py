"""The ResNet-50 layers, the engine against PyTorch's cuDNN in benchmark mode."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from cases import resnet50_layers
from device import DeviceProblem, milliseconds
from engine import Choice, Engine
from problem import Problem
from report import Timing

BATCHES = (32, 256)


def peak_tflops(dtype: str, tf32: bool) -> float:
    """What a large matrix product reaches on this device: the ceiling to compare with."""
    torch.backends.cuda.matmul.allow_tf32 = tf32
    size = 8192 if dtype != "float64" else 4096
    a, b = (torch.randn(size, size, device="cuda").to(getattr(torch, dtype)) for _ in range(2))
    return 2.0 * size**3 / milliseconds(lambda: torch.mm(a, b), repetitions=10, warm_up=3) / 1e9


def _own(engine: Engine, tensors: DeviceProblem, tf32: bool) -> tuple[str, float]:
    problem = tensors.problem
    out = torch.empty(problem.filter_shape, dtype=tensors.dtype, device="cuda")
    arguments = tensors.tensors(out.data_ptr())
    times = []
    for index, plan in enumerate(engine.plans(problem, Choice(allow_tf32=tf32))):
        choice = Choice(allow_tf32=tf32, plan=index)
        workspace = torch.empty(engine.workspace_bytes(problem, choice), dtype=torch.uint8, device="cuda")
        run = _bind(engine, problem, choice, arguments, workspace)
        times.append((milliseconds(run), f"{plan['instance'] or plan['method']} x{plan['slices']}"))
    best, name = min(times)
    return name, best


def _bind(engine: Engine, problem: Problem, choice: Choice, arguments, workspace: torch.Tensor):
    return lambda: engine.launch(problem, choice, arguments, workspace.data_ptr())


def run_all(engine: Engine) -> Iterator[Timing]:
    torch.backends.cudnn.benchmark = True
    for dtype, tf32 in (("float16", False), ("bfloat16", False), ("float32", True), ("float32", False)):
        torch.backends.cudnn.allow_tf32 = tf32
        for batch in BATCHES:
            for layer, problem in resnet50_layers(dtype, batch):
                tensors = DeviceProblem(problem)
                own_plan, own_ms = _own(engine, tensors, tf32)
                cudnn_ms = milliseconds(tensors.torch_wgrad())
                tflops = problem.flops / 1e9
                yield Timing(layer, dtype, batch, tf32, own_plan, own_ms, cudnn_ms, tflops / own_ms, tflops / cudnn_ms)
