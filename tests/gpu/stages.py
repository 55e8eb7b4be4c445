"""What a run does with an engine on a device, one stage after the other, and the files that it writes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable

import cases
import correctness
import performance
import report
import sanitizer
from device import Gpu, Host, is_lost
from engine import Engine

Say = Callable[[str], None]


class Results:
    """Written whenever something is added: a fault of a kernel ends the process's use of the device."""

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


def check_subset(engine: Engine, device: Gpu | Host, say: Say) -> int:
    """What a sanitizer watches; returns the exit status."""
    checks = failures = 0
    for outcome in correctness.run_own(engine, device, cases.few_problems()):
        checks += 1
        if outcome.failure:
            failures += 1
            say(f"{outcome.failure}: {outcome.case}, {outcome.plan}")
    print(sanitizer.SUBSET_RAN.format(checks))
    return 1 if failures else 0


def _check(engine: Engine, device: Gpu | Host, results: Results, say: Say) -> None:
    outcomes = []
    problems = cases.all_problems() if isinstance(device, Gpu) else cases.few_problems()
    try:
        for outcome in correctness.run_all(engine, device, problems):
            outcomes.append(outcome)
            if len(outcomes) % 500 == 0:
                say(f"{len(outcomes)} checks, {sum(bool(o.failure) for o in outcomes)} failed")
    except correctness.DeviceLostError as error:
        outcomes.append(error.outcome)
    except RuntimeError as error:  # before a check began, such as want of memory for a problem's tensors
        outcomes.append(report.Outcome("all that was left", "", None, 0.0, report.first_line(error)))
    checked = {"correctness": [dataclasses.asdict(outcome) for outcome in outcomes]}
    results.add(checked, report.correctness_section(outcomes), failed=any(outcome.failure for outcome in outcomes))


def _sanitize(library: pathlib.Path, results: Results, say: Say) -> None:
    found = sanitizer.run_all(library, say)
    failed = any(result.startswith(sanitizer.FAILED) for result in found.values())
    results.add({"sanitizer": found}, report.sanitizer_section(found), failed=failed)


def _measure(engine: Engine, device: Gpu | Host, results: Results, say: Say) -> None:
    measured = []
    for network in cases.all_networks() if isinstance(device, Gpu) else cases.few_networks():
        timings = performance.measure(engine, device, network, say)
        measured.append(dataclasses.asdict(timings))
        results.add({"performance": measured}, report.performance_section(timings), failed=timings.failed)
        if is_lost(device):
            return


def run_all(
    engine: Engine, device: Gpu | Host, library: pathlib.Path, folder: pathlib.Path, only: str | None, say: Say
) -> int:
    """All stages, or one; returns the exit status."""
    results = Results(device.title, {**device.facts(), "date": datetime.date.today().isoformat()}, folder)
    if only in (None, "correctness"):
        _check(engine, device, results, say)
    if only in (None, "sanitizer") and isinstance(device, Gpu) and not is_lost(device):
        _sanitize(library, results, say)
    if only in (None, "performance") and not is_lost(device):
        _measure(engine, device, results, say)
    if is_lost(device):
        results.failed = True
        say("the device is lost, and the rest is left out")
    verdict = "some checks FAILED" if results.failed else "all passed"
    say(f"wrote {folder / 'results.md'} and results.json; {verdict}")
    return 1 if results.failed else 0
