"""How the time that a run may take is divided among the layers."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from layers import Layer
from results import Configuration

# Seconds that all implementations together take per GFLOP on one thread, roughly; half and bfloat16 are slow in peers.
_SECONDS_PER_GFLOP = {"float32": 0.06, "float64": 0.2, "bfloat16": 0.7, "half": 0.5}
_SECONDS_PER_LAYER = 0.05


class Budget:
    """Hands out what is left in proportion, so that time which one layer saves goes to all that follow."""

    def __init__(self, seconds: float, work: Iterable[tuple[Configuration, Layer]]) -> None:
        self.start = time.monotonic()
        self._deadline = self.start + seconds
        self._open = sum(_weight(*item) for item in work)

    @property
    def spent(self) -> bool:
        return time.monotonic() > self._deadline

    def until(self, configuration: Configuration, layer: Layer) -> float:
        """The time.monotonic() at which this layer, the next, should be done."""
        now, weight = time.monotonic(), _weight(configuration, layer)
        share = weight / self._open
        self._open -= weight
        return now + share * max(0.0, self._deadline - now)


def _weight(configuration: Configuration, layer: Layer) -> float:
    """The square root of what a round costs: short samples are noisier, so short layers get more rounds."""
    gflop = layer.flops(configuration.batch) / 1e9
    return math.sqrt(_SECONDS_PER_LAYER + gflop * _SECONDS_PER_GFLOP[configuration.dtype] / configuration.threads)
