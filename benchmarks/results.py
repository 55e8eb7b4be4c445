"""What a run found out: raw samples, the statistics made of them, and JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import shlex
import statistics
import sys
from collections.abc import Iterable, Mapping
from typing import Any

# What docs/performance.md and the README are generated from.
FOLDER = pathlib.Path(__file__).resolve().parent / "results"
SCRATCH = FOLDER.parents[1] / "build" / "bench"
NAMES = {
    "plugin": "this plugin",
    "tensorflow_onednn": "TensorFlow (oneDNN)",
    "tensorflow_eigen": "TensorFlow (Eigen)",
    "torch": "PyTorch",
}


@dataclasses.dataclass(frozen=True)
class Timing:
    """One implementation on one layer."""

    status: str
    """`measured`; `unsupported`; `failed`: raised, crashed or hung; `wrong`: the result was."""
    seconds: list[float] = dataclasses.field(default_factory=list)
    """One for each round; only one where the implementation is far behind the best peer."""
    error: float | None = None
    """Relative L2, estimated."""
    detail: str = ""
    """Why it was not measured."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclasses.dataclass(frozen=True)
class LayerResult:
    name: str
    shape: str
    flops: float
    count: int
    """How often the network has the layer."""
    algorithm: str
    """The plugin's choice."""
    timings: Mapping[str, Timing]
    peak_flops: list[float]
    """The FLOP/s of fused multiply-adds, measured in each round; empty where there is no compiler."""

    def seconds(self, implementation: str) -> float | None:
        """The median, or None where it was not measured."""
        timing = self.timings.get(implementation)
        return timing.median if timing and timing.status == "measured" else None

    @property
    def best_peer(self) -> str | None:
        medians = {name: self.seconds(name) for name in self.timings if name != "plugin"}
        measured = {name: median for name, median in medians.items() if median is not None}
        return min(measured, key=measured.__getitem__) if measured else None

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer: the median over the rounds, in which the two ran back to back."""
        peer = self.best_peer
        if peer is None or self.seconds("plugin") is None:
            return None
        pairs = zip(self.timings[peer].seconds, self.timings["plugin"].seconds, strict=False)
        return statistics.median(theirs / ours for theirs, ours in pairs)

    def ratio_to(self, peer: str) -> float | None:
        theirs, ours = self.seconds(peer), self.seconds("plugin")
        return theirs / ours if theirs and ours else None

    def ratio_of_seconds(self, other: LayerResult) -> float | None:
        """How many times as fast the plugin is in `other`, the same layer on more threads."""
        few, many = self.seconds("plugin"), other.seconds("plugin")
        return few / many if few and many else None

    def ratio_of_peaks(self, other: LayerResult) -> float | None:
        """How much more the processor itself could do there."""
        if not self.peak_flops or not other.peak_flops:
            return None
        return statistics.median(other.peak_flops) / statistics.median(self.peak_flops)

    @property
    def of_peak(self) -> float | None:
        """The plugin's FLOP/s as a part of the peak: the median over the rounds, each with the peak measured in it."""
        timing = self.timings["plugin"]
        if timing.status != "measured" or not self.peak_flops:
            return None
        pairs = zip(timing.seconds, self.peak_flops, strict=False)
        return statistics.median(self.flops / seconds / peak for seconds, peak in pairs)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One model in one batch size and type, on so many threads."""

    model: str
    batch: int
    dtype: str
    threads: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.model} {self.dtype}, batch {self.batch}, {threads}"


@dataclasses.dataclass(frozen=True)
class ConfigurationResult:
    configuration: Configuration
    layers: list[LayerResult]
    left_out: dict[str, str]
    """The layers that were not measured, and why."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What the results of every benchmark say of how they came about."""

    command: str
    machine: dict[str, str]
    """What it is, and what runs on it."""
    seconds: float
    """That the run took."""

    def save(self, path: pathlib.Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


@dataclasses.dataclass(frozen=True)
class Results(Run):
    configurations: list[ConfigurationResult]

    @classmethod
    def load(cls, path: pathlib.Path) -> Results:
        raw = json.loads(path.read_text())
        raw["configurations"] = [_configuration_result(**found) for found in raw["configurations"]]
        return cls(**raw)


def make_command(target: str) -> str:
    """The command line that repeats this run."""
    arguments = shlex.join(sys.argv[1:])
    return f"make {target} ARGS={shlex.quote(arguments)}" if arguments else f"make {target}"


def add_output_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=pathlib.Path, help="folder; default: benchmarks/results for everything, otherwise build/bench"
    )


def output_folder(options: argparse.Namespace, everything: bool) -> pathlib.Path:
    """Where to write: what is a part of everything does not replace what is published, unless it was asked to."""
    return options.output or (FOLDER if everything else SCRATCH)


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """Of those that are not None; None where all are."""
    logarithms = [math.log(value) for value in values if value is not None]
    return math.exp(statistics.fmean(logarithms)) if logarithms else None


def _configuration_result(
    configuration: dict[str, Any], layers: list[dict[str, Any]], left_out: dict[str, str]
) -> ConfigurationResult:
    return ConfigurationResult(Configuration(**configuration), [_layer_result(layer) for layer in layers], left_out)


def _layer_result(raw: dict[str, Any]) -> LayerResult:
    return LayerResult(**{**raw, "timings": {name: Timing(**timing) for name, timing in raw["timings"].items()}})
