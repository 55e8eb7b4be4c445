"""Everything that the op must reject is an error with the offending name and value: no crash, no hang, no result."""

from __future__ import annotations

import functools
import json
import pathlib
import re
import subprocess
import sys

import pytest
from bad_inputs import CASES, MANNERS

SCRIPT = pathlib.Path(__file__).with_name("bad_inputs.py")
# The op's own error, and what TensorFlow raises for arguments that never reach it.
TYPES = {"InvalidArgumentError", "ValueError", "TypeError", "OverflowError"}


@functools.cache
def outcomes(manner: str, device: str) -> dict[str, dict[str, str | None]]:
    """What each case ended with, from one process, or from as many as there are crashes."""
    found: dict[str, dict[str, str | None]] = {}
    names = list(CASES)
    while len(found) < len(names):
        try:
            process = subprocess.run(
                [sys.executable, str(SCRIPT), manner, device, names[len(found)]],
                capture_output=True,
                check=False,
                text=True,
                timeout=300,
            )
            output, reason = process.stdout, f"exit status {process.returncode}: {process.stderr[-2000:]}"
        except subprocess.TimeoutExpired as expired:
            output, reason = (expired.stdout or b"").decode(), "still running after 300 s"
        lines = [json.loads(line) for line in output.splitlines()]
        found.update((line["name"], line) for line in lines if "name" in line)
        rest = names[len(found) :]
        # The case that began and did not end is to blame; where none began, none can be run.
        for name in rest[:1] if lines else rest:
            found[name] = {"name": name, "type": "crash", "message": reason}
    return found


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", CASES)
def test_is_rejected(name, manner, device):
    outcome = outcomes(manner, device)[name]
    assert outcome["type"] in TYPES, outcome
    assert re.search(CASES[name].message, outcome["message"], re.DOTALL), outcome
