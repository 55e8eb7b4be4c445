"""Checks and times the CUDA engine on this machine's GPU. Needs PyTorch with CUDA; neither Bazel nor TensorFlow.

Writes results.json and results.md. Exit status: 0 all checks passed, 1 some failed, 2 it could not run.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from engine import ROOT, Engine, EngineError, build, build_for_host, find_nvcc

if TYPE_CHECKING:  # needs PyTorch, whose absence must be one clear line
    from device import Gpu, Host


_SANITIZER_SECONDS = 1200


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, help="a prebuilt engine library; compiled by default")
    parser.add_argument("--build-dir", type=pathlib.Path, default=ROOT / "build/gpu", help="default: %(default)s")
    parser.add_argument("--architecture", default="native", help="nvcc's -arch; default: the GPU of this machine")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files to compile at once")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/gpu", help="folder of the results")
    parser.add_argument(
        "--host", action="store_true", help="run a few cases on the processor: this checks the harness, not the kernels"
    )
    parser.add_argument("--only", choices=["build", "correctness", "performance", "sanitizer", "subset"])
    return parser.parse_args()


def _why_not(host: bool) -> str:
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: pip install torch"
    if host:
        return ""
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _sanitizer() -> str | None:
    beside = shutil.which("compute-sanitizer")
    if beside:
        return beside
    try:
        candidate = find_nvcc().parent / "compute-sanitizer"
    except EngineError:
        return None
    return str(candidate) if candidate.exists() else None


def _run_sanitizers(library: pathlib.Path) -> dict[str, str]:
    """Each tool over the subset of the checks in a process of its own."""
    program = _sanitizer()
    if program is None:
        return dict.fromkeys(("memcheck", "racecheck"), "not run: no compute-sanitizer found")
    results = {}
    for tool in ("memcheck", "racecheck"):
        _say(f"compute-sanitizer {tool}")
        script = [sys.executable, __file__, "--library", str(library), "--only", "subset"]
        # The caching allocator would hide accesses between two of its tensors.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        try:
            result = subprocess.run(
                [program, "--tool", tool, "--error-exitcode", "99", *script],
                env=environment, capture_output=True, text=True, check=False, timeout=_SANITIZER_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            results[tool] = f"not finished after {_SANITIZER_SECONDS} s"
            continue
        results[tool] = "passed" if result.returncode == 0 else f"FAILED\n\n```\n{result.stdout[-4000:]}\n```"
    return results


def _check_few(engine: Engine, device: Gpu | Host) -> int:
    import cases
    import correctness

    failed = False
    for outcome in correctness.run_own(engine, device, cases.few_problems()):
        if outcome.failure:
            _say(f"{outcome.failure}: {outcome.case}, {outcome.plan}")
            failed = True
    return 1 if failed else 0


class Results:
    """Written after each section: a fault of a kernel ends the process's use of the device."""

    def __init__(self, title: str, facts: dict, folder: pathlib.Path) -> None:
        self.failed = False
        self._folder = folder
        self._sections: dict = {"environment": facts}
        heading = f"# {title}: {facts['device']}, {facts['date']}"
        self._lines = [heading, "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]

    def add(self, sections: dict, lines: list[str], *, failed: bool) -> None:
        self._sections.update(sections)
        self._lines += lines
        self.failed = self.failed or failed
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "results.json").write_text(json.dumps(self._sections, indent=1, allow_nan=False))
        (self._folder / "results.md").write_text("\n".join(self._lines))


def _run(arguments: argparse.Namespace, library: pathlib.Path) -> int:
    import cases
    import correctness
    import performance
    import report
    from device import Gpu, Host

    engine = Engine(library)
    device = Host() if arguments.host else Gpu()
    if arguments.only == "subset":
        return _check_few(engine, device)
    results = Results(device.title, {**device.facts(), "date": datetime.date.today().isoformat()}, arguments.out)
    if arguments.only in (None, "correctness"):
        outcomes = []
        problems = cases.few_problems() if arguments.host else cases.all_problems()
        lost = None
        try:
            for outcome in correctness.run_all(engine, device, problems):
                outcomes.append(outcome)
                if len(outcomes) % 500 == 0:
                    _say(f"{len(outcomes)} checks, {sum(bool(o.failure) for o in outcomes)} failed")
        except correctness.DeviceLostError as error:
            lost = error
            outcomes.append(error.outcome)
        failed = any(outcome.failure for outcome in outcomes)
        checked = {"correctness": [dataclasses.asdict(outcome) for outcome in outcomes]}
        results.add(checked, report.correctness_section(outcomes), failed=failed)
        if lost is not None:
            _say(f"the device is lost, and the rest is left out: {lost}")
            return 1
    if arguments.only in (None, "sanitizer") and not arguments.host:
        found = _run_sanitizers(library)
        failed = any(result.startswith("FAILED") for result in found.values())
        results.add({"sanitizer": found}, report.sanitizer_section(found), failed=failed)
    if arguments.only in (None, "performance"):
        timings = []
        for timing in performance.run_all(engine, device, cases.few_layers() if arguments.host else cases.all_layers()):
            timings.append(timing)
            _say(f"{timing.dtype} batch {timing.batch} {timing.layer}: {timing.own_ratio:.2f}x cuDNN")
        arithmetics = dict.fromkeys((timing.dtype, timing.tf32) for timing in timings)
        peaks = {
            dtype + (" (tf32)" if tf32 else ""): performance.peak_tflops(device, dtype, tf32)
            for dtype, tf32 in arithmetics
        }
        timed = {"performance": [dataclasses.asdict(timing) for timing in timings], "peak_tflops": peaks}
        failed = any(timing.failed for timing in timings)
        results.add(timed, report.performance_section(timings, peaks), failed=failed)
    verdict = "some checks FAILED" if results.failed else "all passed"
    _say(f"wrote {arguments.out / 'results.md'} and results.json; {verdict}")
    return 1 if results.failed else 0


def _build(arguments: argparse.Namespace) -> pathlib.Path:
    if arguments.host:
        return build_for_host(arguments.build_dir, arguments.jobs, _say)
    return build(arguments.build_dir, arguments.architecture, arguments.jobs, _say)


def main() -> int:
    arguments = _arguments()
    why_not = "" if arguments.only == "build" else _why_not(arguments.host)
    if why_not:
        _say(f"test-gpu: {why_not}; nothing was checked")
        return 2
    try:
        library = arguments.library or _build(arguments)
        return 0 if arguments.only == "build" else _run(arguments, library)
    except EngineError as error:
        _say(f"test-gpu: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
