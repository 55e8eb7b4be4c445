"""Any number of threads computes the same bits, and none of them waits for ever."""

from __future__ import annotations

import functools
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = pathlib.Path(__file__).with_name("threads.py")


@functools.cache
def outcome(what: str, threads: int) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, str(SCRIPT), what, str(threads)], capture_output=True, check=False, text=True, timeout=400
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout)


@pytest.mark.parametrize("threads", [2, 3, 7, 16])
def test_bitwise_equal_to_one_thread(threads):
    assert outcome("hashes", threads) == outcome("hashes", 1)


def test_hashes_tell_results_apart():
    hashes = outcome("hashes", 1)
    for name in ("3x3", "depthwise"):
        of_each_type = {hashes[f"{name} NHWC {dtype} auto"] for dtype in ("float16", "bfloat16", "float32", "float64")}
        assert len(of_each_type) == 4


@pytest.mark.parametrize("threads", [1, 2])
def test_many_calls_on_few_threads(threads):
    assert outcome("crowd", threads) == {"python": True, "graph": True, "tf.data": True}
