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
    dtype: str
    batch: int
    tf32: bool
    flops: float
    own_plan: str  # the fastest of the engine's own kernels
    own_ms: float
    tuned: str  # what the engine chooses, cuDNN among its candidates
    tuned_ms: float
    cudnn_ms: float  # PyTorch's
    difference: float  # of the two results, relative, in the L2 norm

    @property
    def failed(self) -> bool:
        """Two results that round to 8 bits, as bfloat16's do, are at most half of this apart."""
        return not self.difference < 2.0**-6

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


def performance_section(timings: Sequence[Timing], peaks: dict[str, float]) -> list[str]:
    lines = ["## ResNet-50 layers", ""]
    for (dtype, tf32, batch), group in _grouped(timings).items():
        arithmetic = dtype + (" (tf32)" if tf32 else "")
        own = geometric_mean([timing.own_ratio for timing in group])
        tuned = geometric_mean([timing.tuned_ratio for timing in group])
        summary = (
            f"Geometric mean over cuDNN: {own:.2f}x by the own kernels, {tuned:.2f}x with cuDNN among the "
            f"candidates. A matrix product reaches {peaks[arithmetic]:.1f} TFLOP/s."
        )
        lines += [
            f"### {arithmetic}, batch {batch}",
            "",
            summary,
            "",
            "| layer | own plan | own ms | own TFLOP/s | cuDNN ms | cuDNN TFLOP/s | own / cuDNN | chosen | ms | / cuDNN | difference |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {t.layer} | {t.own_plan} | {t.own_ms:.3f} | {t.tflops(t.own_ms):.1f} | {t.cudnn_ms:.3f} | "
            f"{t.tflops(t.cudnn_ms):.1f} | {t.own_ratio:.2f}x | {t.tuned} | {t.tuned_ms:.3f} | {t.tuned_ratio:.2f}x | "
            f"{t.difference:.1e}{' FAILED' if t.failed else ''} |"
            for t in group
        ]
        lines.append("")
    return lines


def _grouped(timings: Sequence[Timing]) -> dict[tuple[str, bool, int], list[Timing]]:
    groups: dict[tuple[str, bool, int], list[Timing]] = {}
    for timing in timings:
        groups.setdefault((timing.dtype, timing.tf32, timing.batch), []).append(timing)
    return groups


def sanitizer_section(results: dict[str, str]) -> list[str]:
    return ["## compute-sanitizer", "", *(f"- {tool}: {result}" for tool, result in results.items()), ""]
