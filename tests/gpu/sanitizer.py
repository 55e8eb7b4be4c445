"""compute-sanitizer: each of its tools over a subset of the checks, in a process of its own."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from engine import EngineError, find_nvcc

# PyTorch asks the driver for functions that it may lack, and takes the error for an answer; racecheck's warnings are of
# hazards that need not be races.
_TOOLS = {"memcheck": ["--report-api-errors", "no"], "racecheck": ["--racecheck-detect-level", "error"]}
_SECONDS = 240
FAILED = "FAILED"  # what the result of a tool begins with then

# What the subset prints at its end: a tool finds nothing either in a process that checks nothing.
SUBSET_RAN = "subset: {} checks of {} kernels"
_REFUSED = "Device not supported"
_SOME_CHECKS = re.compile(SUBSET_RAN.partition("{}")[0] + "([1-9].*)")


def _find() -> str | None:
    on_path = shutil.which("compute-sanitizer")
    if on_path:
        return on_path
    try:
        beside_nvcc = find_nvcc().parent / "compute-sanitizer"
    except EngineError:
        return None
    return str(beside_nvcc) if beside_nvcc.exists() else None


def _kill(process: subprocess.Popen) -> None:
    """With all it has started: the launcher alone would leave the process that it watches on the device."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def result_of(command: Sequence[str], seconds: float = _SECONDS) -> str:
    """Runs one tool over the subset: "passed" and how many checks, or what it ran into."""
    # The caching allocator would hide accesses between two of its tensors.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
            why = f"exit status {process.returncode}" if process.returncode else ""
        except subprocess.TimeoutExpired:
            _kill(process)
            stdout, stderr = process.communicate()
            why = f"not finished after {seconds} s"
        finally:
            _kill(process)
    checks = _SOME_CHECKS.search(stdout)
    if checks and not why:
        return f"passed, {checks[1]}"
    if _REFUSED in stdout:
        return "not run: compute-sanitizer does not support the device here"
    return f"{FAILED}: {why or 'it checked nothing'}\n\n```\n{stdout[-4000:]}\n{stderr[-2000:]}\n```"


def run_all(library: pathlib.Path, report: Callable[[str], None]) -> Iterator[tuple[str, str]]:
    """Each tool and its result."""
    program = _find()
    if program is None:
        yield from dict.fromkeys(_TOOLS, "not run: no compute-sanitizer found").items()
        return
    script = str(pathlib.Path(__file__).with_name("run.py"))
    for tool, own_options in _TOOLS.items():
        report(f"compute-sanitizer {tool}")
        # PyTorch's kernels are not ours to check.
        options = [*own_options, "--kernel-name", "kns=wgrad", "--kernel-name", "kns=cutlass", "--error-exitcode", "99"]
        subset = [sys.executable, script, "--library", str(library), "--only", "subset"]
        yield tool, result_of([program, "--tool", tool, *options, *subset])
