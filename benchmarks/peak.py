"""The arithmetic that the processor could do at this moment: fma_peak.c, on as many threads as the layers use."""

from __future__ import annotations

import concurrent.futures
import ctypes
import os
import pathlib
import subprocess
import tempfile

_SOURCE = pathlib.Path(__file__).with_name("fma_peak.c")
# About 4 ms: short against a layer, long against the start of a thread.
_ITERATIONS = 2_000_000


class Peak:
    """Measures FLOP/s of fused multiply-adds in the arithmetic that suits a type best on this processor."""

    def __init__(self, dtype: str, threads: int) -> None:
        """Compiles the loop with $CC, else cc. OSError or CalledProcessError says that this is not possible."""
        with tempfile.TemporaryDirectory() as directory:
            library = pathlib.Path(directory) / "fma_peak.so"
            compiler = os.environ.get("CC", "cc")
            flags = ["-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC", _arithmetic(dtype)]
            subprocess.run([compiler, *flags, "-o", library, _SOURCE], check=True)
            self._run = ctypes.CDLL(str(library)).FmaPeak
        self._run.restype, self._run.argtypes = ctypes.c_double, [ctypes.c_int64]
        self._threads = threads
        self._pool = concurrent.futures.ThreadPoolExecutor(threads)

    def flops(self) -> float:
        """FLOP/s of all threads together."""
        return float(sum(self._pool.map(self._run, [_ITERATIONS] * self._threads)))  # ctypes lets go of Python's lock


def _arithmetic(dtype: str) -> str:
    """Half is computed in float32 by everybody, and so is bfloat16 where there is no dot product for it."""
    if dtype == "float64":
        return "-DELEMENT=double"
    if dtype == "bfloat16" and "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        return "-DDOT_BF16"
    return "-DELEMENT=float"
