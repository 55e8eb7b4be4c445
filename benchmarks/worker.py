"""Measures in processes that may crash or hang without ending the run.

TensorFlow's threads are fixed once it has started, so each number of threads needs a process of its own in any case. An
implementation that takes its process down is not called again on that layer; a new process goes on from there.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
from multiprocessing.connection import Connection

from layers import Layer
from results import LayerResult, Timing

# One call may take this long, and a second more for every so many operations: a tenth of the speed of the slowest peer.
_PATIENCE_SECONDS = 60.0
_PATIENCE_FLOPS = 2e8
# Python, TensorFlow and PyTorch have to be loaded first.
_START_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Task:
    """One layer to measure."""

    layer: Layer
    batch: int
    dtype: str
    repeat: int
    """Rounds, at most."""
    until: float
    """The time.monotonic() after which no further round starts; there is always a first one."""


class Worker:
    """A process that computes on so many threads."""

    def __init__(self, threads: int, log: pathlib.Path) -> None:
        """What the libraries print on stderr is appended to `log`."""
        self._threads, self._log = threads, log
        self._start()

    def measure(self, task: Task) -> LayerResult:
        """Raises RuntimeError where the process comes to its end before it has called any implementation."""
        excluded: dict[str, Timing] = {}
        while True:
            called = ""
            self._connection.send((task, excluded))
            try:
                while not isinstance(message := self._receive(task), LayerResult):
                    called = message
                return message
            except (EOFError, ConnectionError):
                reason = self._how_it_ended()
            except TimeoutError as error:
                reason = str(error)
            self.stop()
            self._start()
            if not called:
                raise RuntimeError(f"the process {reason}; see {self._log.name}")
            excluded[called] = Timing("failed", detail=f"the process {reason}")

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(self._threads, self._log, theirs), daemon=True)
        self._process.start()
        theirs.close()  # the process has its own; this way its end is seen here as the end of the messages
        self._patience = _START_SECONDS

    def _receive(self, task: Task) -> LayerResult | str:
        """The result, or the name of an implementation that is about to be called."""
        if not self._connection.poll(self._patience):
            raise TimeoutError(f"did not answer for {self._patience:.0f} seconds")
        message: LayerResult | str = self._connection.recv()
        self._patience = _PATIENCE_SECONDS + task.layer.flops(task.batch) / _PATIENCE_FLOPS
        return message

    def _how_it_ended(self) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _work(threads: int, log: pathlib.Path, connection: Connection) -> None:
    """The process: processors and environment first, since the libraries look at them when they are loaded."""
    with log.open("a") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    os.environ.update(TF_ENABLE_ONEDNN_OPTS="1", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
    os.environ.update(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS="1")
    import measure
    import peers
    from peak import Peak

    peers.use_threads(threads)
    peaks: dict[str, Peak | None] = {}
    while True:
        task, excluded = connection.recv()
        if task.dtype not in peaks:
            try:
                peaks[task.dtype] = Peak(task.dtype, threads)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"no FMA peak: {error}", flush=True)
                peaks[task.dtype] = None
        connection.send(measure.measure_layer(task, peaks[task.dtype], excluded, connection.send))
