"""Runs what may crash, hang or use up memory, in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import textwrap

TESTS = pathlib.Path(__file__).parent
PREAMBLE = """
import os, sys
import numpy as np, tensorflow as tf
import tensorflow_conv_backprop as plugin
from reference import Convolution, assert_within_contract
"""


def run_program(program: str, *arguments: str, timeout: float = 300, **environment: str) -> str:
    """What `program`, which has imported the plugin and reference.py, prints. Fails unless it ends by itself and well."""
    return run_bare_program(PREAMBLE + textwrap.dedent(program), *arguments, timeout=timeout, **environment)


def run_bare_program(program: str, *arguments: str, timeout: float = 300, **environment: str) -> str:
    """The same for one that imports all it needs, in the order that matters to it."""
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=False,
        cwd=TESTS,
        env=os.environ | environment,
        text=True,
        timeout=timeout,
    )
    assert process.returncode == 0, f"exit status {process.returncode}: {process.stderr[-3000:]}"
    return process.stdout
