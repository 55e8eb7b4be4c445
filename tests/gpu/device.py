"""Problems on a GPU: PyTorch owns the memory and the stream, and its cuDNN is the rival."""

from __future__ import annotations

import numpy as np
import torch
from engine import Choice, Engine, Tensors
from problem import LAYOUTS, Problem

_GUARD_BYTES = 1024
_GUARD = 0xA5


class Guarded:
    """Device memory of NaN, with a margin on either side that nobody may write to."""

    def __init__(self, count: int) -> None:
        self._bytes = torch.full((count + 2 * _GUARD_BYTES,), _GUARD, dtype=torch.uint8, device="cuda")
        self.content = self._bytes[_GUARD_BYTES : _GUARD_BYTES + count]
        self.content.fill_(0xFF)  # NaN in every floating type

    @property
    def pointer(self) -> int:
        return self.content.data_ptr() if self.content.numel() else self._bytes.data_ptr() + _GUARD_BYTES

    def margins_untouched(self) -> bool:
        before, after = self._bytes[:_GUARD_BYTES], self._bytes[_GUARD_BYTES + self.content.numel() :]
        return bool((before == _GUARD).all() and (after == _GUARD).all())


class DeviceProblem:
    """A problem with random tensors; `inputs` and `out_backprop` hold float64 copies of what the device has."""

    def __init__(self, problem: Problem, seed: int = 0) -> None:
        self.problem = problem
        self.dtype = getattr(torch, problem.dtype_name)
        generator = torch.Generator(device="cuda").manual_seed(seed)
        self.input = self._random(problem.input_shape, generator)
        self.out_backprop = self._random(problem.output_shape, generator)

    def _random(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device="cuda", dtype=torch.float32).to(self.dtype)

    def on_host(self) -> tuple[np.ndarray, np.ndarray]:
        return self.input.double().cpu().numpy(), self.out_backprop.double().cpu().numpy()

    def tensors(self, filter_backprop: int) -> Tensors:
        return Tensors(
            self.input.data_ptr(),
            self.out_backprop.data_ptr(),
            filter_backprop,
            torch.cuda.current_stream().cuda_stream,
        )

    def result_of(self, memory: Guarded) -> torch.Tensor:
        return memory.content.view(self.dtype).reshape(self.problem.filter_shape)

    def launch(self, engine: Engine, choice: Choice) -> tuple[torch.Tensor, bool]:
        """One launch: the result, and whether it stayed within its memory."""
        size = int(np.prod(self.problem.filter_shape)) * self.input.element_size()
        out, workspace = Guarded(size), Guarded(engine.workspace_bytes(self.problem, choice))
        engine.launch(self.problem, choice, self.tensors(out.pointer), workspace.pointer)
        torch.cuda.synchronize()
        return self.result_of(out), out.margins_untouched() and workspace.margins_untouched()

    def torch_wgrad(self):
        """A function that computes the gradient with PyTorch's cuDNN, for symmetric padding."""
        p = self.problem
        x, dy = self.input, self.out_backprop
        if LAYOUTS[p.layout] == "NHWC":
            x, dy = x.permute(0, 3, 1, 2), dy.permute(0, 3, 1, 2)
        shape = (p.out_channels, p.filter_channels, p.filter_height, p.filter_width)
        weight = torch.empty(shape, dtype=self.dtype, device="cuda")
        if LAYOUTS[p.layout] == "NHWC":
            weight = weight.to(memory_format=torch.channels_last)

        def run() -> torch.Tensor:
            return torch.ops.aten.convolution_backward(
                dy, x, weight, None, (p.stride_height, p.stride_width), (p.pad_top, p.pad_left),
                (p.dilation_height, p.dilation_width), False, (0, 0), p.groups, (False, True, False),
            )[1]  # fmt: skip

        return run


def milliseconds(run, repetitions: int = 30, warm_up: int = 10) -> float:
    """The median time of `run` on the current stream, by events."""
    for _ in range(warm_up):
        run()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repetitions)]
    for start, stop in marks:
        start.record()
        run()
        stop.record()
    torch.cuda.synchronize()
    return float(np.median([start.elapsed_time(stop) for start, stop in marks]))
