"""The results, and how they read as Markdown. The numbers come from one run on one machine, which the heading names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence


@dataclasses.dataclass
class Outcome:
    case: str
    plan: str
    error: float | None  # None where it is not finite, or there is no result
    allowed: float
    failure: str = ""  # empty where all is well


@dataclasses.dataclass
class Timing:
    layer: str
    flops: float
    own_plan: str  # the fastest of the engine's own kernels
    own_ms: float
    tuned: str  # what the engine chooses, cuDNN among its candidates
    tuned_ms: float
    cudnn_ms: float  # PyTorch's
    difference: float | None  # of the two results, relative, in the L2 norm; None where it is not finite

    @property
    def failed(self) -> bool:
        """Two results that round to 8 bits, as bfloat16's do, are at most half of this apart."""
        return self.difference is None or self.difference >= 2.0**-6

    @property
    def own_ratio(self) -> float:
        """Above 1 where the engine's own kernels are faster than cuDNN."""
        return self.cudnn_ms / self.own_ms

    @property
    def tuned_ratio(self) -> float:
        """Above 1 where the engine, which may choose cuDNN, is faster than cuDNN in PyTorch."""
        return self.cudnn_ms / self.tuned_ms

    def tflops(self, milliseconds: float) -> float:
        return self.flops / milliseconds / 1e9


@dataclasses.dataclass
class Timings:
    """Of the layers of one network, in one arithmetic and with one batch."""

    arithmetic: str
    batch: int
    peak_tflops: float | None = None  # what a large matrix product reaches: the ceiling to compare with
    layers: list[Timing] = dataclasses.field(default_factory=list)
    failures: dict[str, str] = dataclasses.field(default_factory=dict)  # why something could not be timed

    @property
    def failed(self) -> bool:
        return bool(self.failures) or any(timing.failed for timing in self.layers)


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))


def correctness_section(outcomes: Sequence[Outcome]) -> list[str]:
    failures = [outcome for outcome in outcomes if outcome.failure]
    lines = ["## Correctness", "", f"{len(outcomes) - len(failures)} of {len(outcomes)} checks passed.", ""]
    if failures:
        lines += ["| problem | plan | error | allowed | failure |", "|---|---|---|---|---|"]
        lines += [f"| {f.case} | {f.plan} | {_number(f.error)} | {f.allowed:.2e} | {f.failure} |" for f in failures]
        lines.append("")
    return lines


def _number(error: float | None) -> str:
    return "none" if error is None else f"{error:.2e}"


def performance_section(timings: Timings) -> list[str]:
    lines = [f"## ResNet-50 layers, {timings.arithmetic}, batch {timings.batch}", ""]
    if timings.layers:
        own = geometric_mean([timing.own_ratio for timing in timings.layers])
        tuned = geometric_mean([timing.tuned_ratio for timing in timings.layers])
        lines += [
            f"Geometric mean over cuDNN: {own:.2f}x by the own kernels, {tuned:.2f}x with cuDNN among the candidates.",
            "",
        ]
    if timings.peak_tflops is not None:
        lines += [f"A matrix product reaches {timings.peak_tflops:.1f} TFLOP/s.", ""]
    lines += [
        "| layer | own plan | own ms | own TFLOP/s | cuDNN ms | cuDNN TFLOP/s | own / cuDNN | chosen | ms | / cuDNN | difference |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {t.layer} | {t.own_plan} | {t.own_ms:.3f} | {t.tflops(t.own_ms):.1f} | {t.cudnn_ms:.3f} | "
        f"{t.tflops(t.cudnn_ms):.1f} | {t.own_ratio:.2f}x | {t.tuned} | {t.tuned_ms:.3f} | {t.tuned_ratio:.2f}x | "
        f"{_number(t.difference)}{' FAILED' if t.failed else ''} |"
        for t in timings.layers
    ]
    lines.append("")
    if timings.failures:
        lines += [*(f"- FAILED: {what}: {why}" for what, why in timings.failures.items()), ""]
    return lines


def sanitizer_section(results: dict[str, str]) -> list[str]:
    return ["## compute-sanitizer", "", *(f"- {tool}: {result}" for tool, result in results.items()), ""]
