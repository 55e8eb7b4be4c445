"""What benchmarks/training.py found out: raw samples of each training, the statistics made of them, and JSON."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from typing import Any

from results import Run


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of one of the two trainings, without the first, which traces and compiles."""

    seconds: list[float]
    losses: list[float]


@dataclasses.dataclass(frozen=True)
class Training:
    """One model, trained with TensorFlow's filter gradients and with the plugin's, step by step in turns."""

    model: str
    size: int
    """Height and width of an image."""
    batch: int
    policy: str
    """Keras's: float32 or mixed_bfloat16."""
    kernels: str
    """What both trainings run, but for the plugin's filter gradients: TensorFlow's ops with oneDNN or Eigen, or XLA."""
    stock: Steps | None = None
    plugin: Steps | None = None
    failure: str = ""
    """Why there are no steps."""

    @property
    def ratio(self) -> float | None:
        """The plugin's time as a part of TensorFlow's: the median over the steps, each with the one beside it."""
        if self.stock is None or self.plugin is None:
            return None
        pairs = zip(self.plugin.seconds, self.stock.seconds, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    @property
    def loss_difference(self) -> float | None:
        """The largest relative one of any step."""
        if self.stock is None or self.plugin is None:
            return None
        pairs = zip(self.plugin.losses, self.stock.losses, strict=True)
        return max(abs(ours - theirs) / abs(theirs) for ours, theirs in pairs)


@dataclasses.dataclass(frozen=True)
class TrainingResults(Run):
    trainings: list[Training]

    @classmethod
    def load(cls, path: pathlib.Path) -> TrainingResults:
        raw = json.loads(path.read_text())
        return cls(**{**raw, "trainings": [_training(**found) for found in raw["trainings"]]})


def _training(
    stock: dict[str, list[float]] | None, plugin: dict[str, list[float]] | None, **described: Any
) -> Training:
    return Training(**described, stock=Steps(**stock) if stock else None, plugin=Steps(**plugin) if plugin else None)
