"""What a run does with an engine on a device, one stage after the other, and the files that it writes."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import pathlib
import time
from collections.abc import Callable

import cases
import correctness
import performance
import report
import sanitizer
from device import Gpu, Host, is_lost
from engine import Engine

Say = Callable[[str], None]
# Of a sanitizer's subset. On an H100 racecheck takes 0.4 s for a check, 118 of which meet every kernel in every way;
# memcheck gets through all of it.
_SUBSET_SECONDS = 60


class Results:
    """Written whenever something is put in: a fault of a kernel ends the process's use of the device."""

    def __init__(self, title: str, facts: dict, folder: pathlib.Path) -> None:
        self.failed = False
        self._folder = folder
        heading = f"# {title}: {facts['device']}, {facts['date']}"
        self._data: dict = {"environment": facts}
        self._lines = {"environment": [heading, "", ", ".join(f"{key} {value}" for key, value in facts.items()), ""]}

    def put(self, section: str, data: object, lines: list[str], *, failed: bool) -> None:
        """In the place of what the section had."""
        self._data[section], self._lines[section] = data, lines
        self.failed = self.failed or failed
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "results.json").write_text(json.dumps(self._data, indent=1, allow_nan=False))
        (self._folder / "results.md").write_text("\n".join(itertools.chain.from_iterable(self._lines.values())))


def check_subset(engine: Engine, device: Gpu | Host, say: Say) -> int:
    """What a sanitizer watches, as much of it as fits into its time; returns the exit status."""
    kernels: set[str] = set()
    checks = failures = 0
    end = time.monotonic() + _SUBSET_SECONDS
    for outcome in correctness.run_kernels_briefly(engine, device, cases.few_problems()):
        kernels.add(outcome.plan.partition(" ")[0])
        checks += 1
        if outcome.failure:
            failures += 1
            say(f"{outcome.failure}: {outcome.case}, {outcome.plan}")
        if time.monotonic() > end:
            break
    print(sanitizer.SUBSET_RAN.format(checks, len(kernels)))
    return 1 if failures else 0


def _check(engine: Engine, device: Gpu | Host, results: Results, say: Say) -> None:
    outcomes: list[report.Outcome] = []

    def put() -> None:
        data = [dataclasses.asdict(outcome) for outcome in outcomes]
        failed = any(outcome.failure for outcome in outcomes)
        results.put("correctness", data, report.correctness_section(outcomes), failed=failed)

    problems = cases.all_problems() if isinstance(device, Gpu) else cases.few_problems()
    try:
        for outcome in correctness.run_all(engine, device, problems):
            outcomes.append(outcome)
            if len(outcomes) % 500 == 0:
                put()
                say(f"{len(outcomes)} checks, {sum(bool(o.failure) for o in outcomes)} failed")
    except correctness.DeviceLostError as error:
        outcomes.append(error.outcome)
    except RuntimeError as error:  # before a check began, such as want of memory for a problem's tensors
        outcomes.append(report.Outcome("all that was left", "", None, 0.0, report.first_line(error)))
    put()


def _sanitize(library: pathlib.Path, results: Results, say: Say) -> None:
    found: dict[str, str] = {}
    for tool, result in sanitizer.run_all(library, say):
        found[tool] = result
        failed = result.startswith(sanitizer.FAILED)
        results.put("sanitizer", found, report.sanitizer_section(found), failed=failed)


def _measure(engine: Engine, device: Gpu | Host, results: Results, say: Say) -> None:
    measured, lines = [], []
    for network in cases.all_networks() if isinstance(device, Gpu) else cases.few_networks():
        timings = performance.measure(engine, device, network, say)
        measured.append(dataclasses.asdict(timings))
        lines += report.performance_section(timings)
        results.put("performance", measured, lines, failed=timings.failed)
        if is_lost(device):
            return


def run_all(
    engine: Engine, device: Gpu | Host, library: pathlib.Path, folder: pathlib.Path, only: str | None, say: Say
) -> int:
    """All stages, or one; returns the exit status."""
    results = Results(device.title, {**device.facts(), "date": datetime.date.today().isoformat()}, folder)
    if only in (None, "correctness"):
        _check(engine, device, results, say)
    if only in (None, "performance") and not is_lost(device):
        _measure(engine, device, results, say)
    if only in (None, "sanitizer") and isinstance(device, Gpu) and not is_lost(device):
        _sanitize(library, results, say)
    if is_lost(device):
        results.failed = True
        say("the device is lost, and the rest is left out")
    verdict = "some checks FAILED" if results.failed else "all passed"
    say(f"wrote {folder / 'results.md'} and results.json; {verdict}")
    return 1 if results.failed else 0
