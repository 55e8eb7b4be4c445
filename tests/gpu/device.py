"""Problems on a device: PyTorch owns the memory and the stream, and its cuDNN is the rival."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
from engine import Choice, Engine, Tensors
from problem import LAYOUTS, Problem

_GUARD_BYTES = 1024
_GUARD = 0xA5


class Gpu:
    """PyTorch's current CUDA device."""

    name = "cuda"
    title = "GPU results"
    peak_size = 8192  # of the matrices whose product is the ceiling to compare with

    def __init__(self) -> None:
        # As TensorFlow's streams, it does not wait for the default one: a launch on the wrong stream would be seen.
        torch.cuda.set_stream(torch.cuda.Stream())

    def facts(self) -> dict[str, object]:
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        return {
            "device": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }

    def stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def hold(self, milliseconds: int) -> None:
        """Keeps the device busy for about as long: what is queued meanwhile then runs without waiting for the host."""
        torch.cuda._sleep(2_000_000 * milliseconds)

    def capture(self, run: Callable[[], object]) -> Callable[[], object]:
        """A graph of what `run` launches: calling it replays them."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def milliseconds(self, run: Callable[[], object], repetitions: int = 30, warm_up: int = 10) -> float:
        """The median time of `run` on the current stream, by events."""
        for _ in range(warm_up):
            run()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repetitions)]
        held = 8
        while True:
            self.synchronize()
            began = time.perf_counter()
            self.hold(held)
            for start, stop in events:
                start.record()
                run()
                stop.record()
            queued = 1000 * (time.perf_counter() - began)
            self.synchronize()
            if queued < held:
                return float(np.median([start.elapsed_time(stop) for start, stop in events]))
            held = math.ceil(2 * queued)  # the device waited for the last calls: they would time the host


class Host:
    """The processor, for an engine that was compiled for it: what is checked then is the harness."""

    name = "cpu"
    title = "The harness, tried out on the host"
    peak_size = 256

    def facts(self) -> dict[str, object]:
        return {"device": f"{platform.machine()} processor, no GPU", "torch": torch.__version__}

    def stream(self) -> int:
        return 0

    def synchronize(self) -> None:
        pass

    def hold(self, milliseconds: int) -> None:
        pass

    def capture(self, run: Callable[[], object]) -> Callable[[], object]:
        return run

    def milliseconds(self, run: Callable[[], object]) -> float:
        """The time of one call."""
        start = time.perf_counter()
        run()
        return 1e3 * (time.perf_counter() - start)


def is_lost(device: Gpu | Host) -> bool:
    """Whether a fault has ended the process's use of the device: from then on every call fails."""
    try:
        device.synchronize()
    except RuntimeError:
        return True
    return False


class Guarded:
    """Memory of NaN, with a margin on either side that nobody may write to."""

    def __init__(self, count: int, device: Gpu | Host) -> None:
        self._bytes = torch.full((count + 2 * _GUARD_BYTES,), _GUARD, dtype=torch.uint8, device=device.name)
        self.content = self._bytes[_GUARD_BYTES : _GUARD_BYTES + count]
        self.content.fill_(0xFF)  # NaN in every floating type

    @property
    def pointer(self) -> int:
        return self._bytes.data_ptr() + _GUARD_BYTES

    def margins_untouched(self) -> bool:
        before, after = self._bytes[:_GUARD_BYTES], self._bytes[_GUARD_BYTES + self.content.numel() :]
        return bool((before == _GUARD).all() and (after == _GUARD).all())


class DeviceProblem:
    """A problem with random tensors on a device."""

    def __init__(self, problem: Problem, device: Gpu | Host, seed: int = 0) -> None:
        self.problem = problem
        self.device = device
        self.dtype = getattr(torch, problem.dtype_name)
        generator = torch.Generator(device=device.name).manual_seed(seed)
        self.input = self._random(problem.input_shape, generator)
        self.out_backprop = self._random(problem.output_shape, generator)

    def _random(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        drawn = torch.float64 if self.dtype == torch.float64 else torch.float32
        return torch.randn(shape, generator=generator, device=self.device.name, dtype=drawn).to(self.dtype)

    def on_host(self) -> tuple[np.ndarray, np.ndarray]:
        return self.input.double().cpu().numpy(), self.out_backprop.double().cpu().numpy()

    def tensors(self, filter_backprop: int) -> Tensors:
        return Tensors(self.input.data_ptr(), self.out_backprop.data_ptr(), filter_backprop, self.device.stream())

    def empty_result(self) -> torch.Tensor:
        return torch.empty(self.problem.filter_shape, dtype=self.dtype, device=self.device.name)

    def launch(self, engine: Engine, choice: Choice) -> tuple[torch.Tensor, bool]:
        """One launch: the result, and whether it stayed within its memory."""
        size = int(np.prod(self.problem.filter_shape)) * self.input.element_size()
        out = Guarded(size, self.device)
        workspace = Guarded(engine.workspace_bytes(self.problem, choice), self.device)
        engine.launch(self.problem, choice, self.tensors(out.pointer), workspace.pointer)
        self.device.synchronize()
        result = out.content.view(self.dtype).reshape(self.problem.filter_shape)
        return result, out.margins_untouched() and workspace.margins_untouched()

    def compute(
        self, engine: Engine, out: torch.Tensor, *, allow_tf32: bool, use_cudnn: bool, deterministic: bool = False
    ) -> str:
        """One call as TensorFlow's kernel makes it, into `out`; the name of what ran."""
        workspaces: list[torch.Tensor] = []

        def allocate(count: int) -> int | None:
            try:
                workspaces.append(torch.empty(count + 255, dtype=torch.uint8, device=self.device.name))
            except RuntimeError:  # out of memory; no exception passes through C++
                return None
            return -(-workspaces[-1].data_ptr() // 256) * 256

        return engine.compute(
            self.problem, self.tensors(out.data_ptr()), allocate, allow_tf32=allow_tf32, use_cudnn=use_cudnn,
            deterministic=deterministic,
        )  # fmt: skip

    def torch_wgrad(self) -> Callable[[], torch.Tensor]:
        """A function that computes the gradient with PyTorch's own kernels, for symmetric padding."""
        p = self.problem
        x, dy = self.input, self.out_backprop
        if LAYOUTS[p.layout] == "NHWC":
            x, dy = x.permute(0, 3, 1, 2), dy.permute(0, 3, 1, 2)
        shape = (p.out_channels, p.filter_channels, p.filter_height, p.filter_width)
        weight = torch.empty(shape, dtype=self.dtype, device=self.device.name)
        if LAYOUTS[p.layout] == "NHWC":
            weight = weight.to(memory_format=torch.channels_last)

        def run() -> torch.Tensor:
            return torch.ops.aten.convolution_backward(
                dy, x, weight, None, (p.stride_height, p.stride_width), (p.pad_top, p.pad_left),
                (p.dilation_height, p.dilation_width), False, (0, 0), p.groups, (False, True, False),
            )[1]  # fmt: skip

        return run
