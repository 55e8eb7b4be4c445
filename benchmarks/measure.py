"""Measures one layer: the implementations take turns, so that whatever slows the machine down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import check
import peers
from peak import Peak
from results import LayerResult, Timing
from worker import Task

# A sample is the mean of as many calls as fit into this, and of at least one. As many calls before it are not timed:
# threads that have slept may wake on the processor of the thread that wakes them, and stay there for milliseconds. That
# halved the speed of two threads of this plugin, and tells nothing about training, where call follows call.
_SAMPLE_SECONDS = 0.01
# Threads that have run out of work spin for a while, those of PyTorch (libgomp) for 9 ms: they shall not do so while the
# next implementation is timed. The time of a thread that runs is counted in ticks of up to 4 ms.
_LOOK_SECONDS = 0.01
_MOST_LOOKS = 10
# A peer that takes so many times as long as the best peer, and longer than this, is not called again.
_FAR_BEHIND = 4.0
_FAR_BEHIND_SECONDS = 0.25


def measure_layer(
    task: Task, peak: Peak | None, excluded: Mapping[str, Timing], announce: Callable[[str], None]
) -> LayerResult:
    """Compares on one layer.

    Args:
        excluded: Implementations that must not be called, and what to report for them.
        announce: Called with the name of each implementation before it is called.
    """
    layer, dtype = task.layer, task.dtype
    problem = peers.Problem.random(layer, task.batch, dtype)
    expected = check.Projection(problem)
    running: dict[str, peers.Implementation] = {}
    first_seconds: dict[str, float] = {}
    errors: dict[str, float] = {}
    timings: dict[str, Timing] = dict(excluded)
    for name, prepare in peers.IMPLEMENTATIONS.items():
        if name in excluded:
            continue
        announce(name)
        try:
            implementation = prepare(problem)
            first_seconds[name], result = _timed(implementation.run)
            errors[name] = expected.error(implementation.to_numpy(result))
        except peers.Unsupported as reason:
            timings[name] = Timing("unsupported", detail=str(reason))
        except Exception as error:  # noqa: BLE001 (whatever a peer raises is a finding about the peer)
            timings[name] = Timing("failed", detail=f"{type(error).__name__}: {error}")
        else:
            if errors[name] <= check.LIMITS[dtype]:  # and not NaN
                running[name] = implementation
            else:
                timings[name] = Timing("wrong", error=errors[name], detail=f"relative error {errors[name]:.1e}")

    samples: dict[str, list[float]] = {name: [] for name in running}
    for name in _far_behind({name: first_seconds[name] for name in running if name != "plugin"}):
        samples[name].append(first_seconds[name])
        del running[name]
    peaks: list[float] = []
    for round_index in range(task.repeat):
        if round_index > 0 and time.monotonic() > task.until:
            break
        if peak:
            _wait_for_idle_threads()
            peaks.append(peak.flops())
        for name, implementation in running.items():
            announce(name)
            _wait_for_idle_threads()
            _sample(implementation.run)
            samples[name].append(_sample(implementation.run))
    timings.update({name: Timing("measured", seconds, errors[name]) for name, seconds in samples.items()})
    return LayerResult(
        name=layer.name,
        shape=str(layer),
        flops=layer.flops(task.batch),
        count=layer.count,
        algorithm=peers.algorithm(layer, task.batch, dtype),
        timings={name: timings[name] for name in peers.IMPLEMENTATIONS},
        peak_flops=peaks,
    )


def _wait_for_idle_threads() -> None:
    for _ in range(_MOST_LOOKS):
        start = time.process_time()
        time.sleep(_LOOK_SECONDS)
        if time.process_time() - start < 0.25 * _LOOK_SECONDS:
            return


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _sample(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    calls = 0
    while True:
        run()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= _SAMPLE_SECONDS:
            return elapsed / calls


def _far_behind(first_seconds: Mapping[str, float]) -> list[str]:
    """Peers of which one call is as much as there is to know."""
    best = min(first_seconds.values(), default=0.0)
    return [name for name, s in first_seconds.items() if s > max(_FAR_BEHIND * best, _FAR_BEHIND_SECONDS)]
