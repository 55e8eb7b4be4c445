"""The engine as a shared library: compiling it with nvcc alone, and calling it through ctypes."""

from __future__ import annotations

import concurrent.futures
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

from problem import Problem

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tf_ops/wgrad/cuda"
LIBRARY_NAME = "libwgrad_cuda.so"

Allocate = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)


class EngineError(RuntimeError):
    """A call of the engine failed, or it cannot be built; the message is for people."""


class Choice(ctypes.Structure):
    """Mirrors WgradCudaChoice of c_api.h. Zero leaves what was planned."""

    _fields_ = [
        ("allow_tf32", ctypes.c_int32),
        ("plan", ctypes.c_int32),
        ("pointer_alignment", ctypes.c_int64),
        ("slices", ctypes.c_int64),
        ("images_per_round", ctypes.c_int64),
    ]


class Tensors(ctypes.Structure):
    """Mirrors WgradCudaTensors: device pointers and a cudaStream_t."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("input", "out_backprop", "filter_backprop", "stream")]


class Engine:
    """The functions of tf_ops/wgrad/cuda/c_api.h on the current device. All raise EngineError."""

    def __init__(self, path: pathlib.Path) -> None:
        library = ctypes.CDLL(str(path))
        self._plans = library.wgrad_cuda_plans
        self._plans.restype = ctypes.c_char_p
        self._workspace_bytes = library.wgrad_cuda_workspace_bytes
        self._workspace_bytes.restype = ctypes.c_int64
        self._launch = library.wgrad_cuda_launch
        self._compute = library.wgrad_cuda_compute
        self._compute.restype = ctypes.c_char_p
        self._error = library.wgrad_cuda_error
        self._error.restype = ctypes.c_char_p

    def plans(self, problem: Problem, choice: Choice) -> list[dict]:
        text = self._plans(ctypes.byref(problem), ctypes.byref(choice))
        return json.loads(self._expect(text is not None, text))

    def workspace_bytes(self, problem: Problem, choice: Choice) -> int:
        count = self._workspace_bytes(ctypes.byref(problem), ctypes.byref(choice))
        return self._expect(count >= 0, count)

    def launch(self, problem: Problem, choice: Choice, tensors: Tensors, workspace: int) -> None:
        code = self._launch(
            ctypes.byref(problem), ctypes.byref(choice), ctypes.byref(tensors), ctypes.c_void_p(workspace)
        )
        self._expect(code == 0, None)

    def compute(
        self,
        problem: Problem,
        tensors: Tensors,
        allocate: Callable[[int], int],
        *,
        allow_tf32: bool,
        use_cudnn: bool,
        deterministic: bool = False,
    ) -> str:
        """As TensorFlow's kernel calls it; returns the name of what ran."""
        name = self._compute(
            ctypes.byref(problem), allow_tf32, use_cudnn, deterministic, ctypes.byref(tensors), Allocate(allocate)
        )
        return self._expect(name is not None, name).decode()

    def _expect(self, succeeded: bool, value):
        if not succeeded:
            raise EngineError(self._error().decode())
        return value


def find_nvcc() -> pathlib.Path:
    """nvcc of $CUDA_HOME, of /usr/local/cuda, on PATH, or of NVIDIA's pip packages, in this order."""
    candidates = [pathlib.Path(os.environ["CUDA_HOME"], "bin/nvcc")] if os.environ.get("CUDA_HOME") else []
    candidates.append(pathlib.Path("/usr/local/cuda/bin/nvcc"))
    on_path = shutil.which("nvcc")
    candidates += [pathlib.Path(on_path)] if on_path else []
    candidates += [pathlib.Path(folder, "nvidia/cu13/bin/nvcc") for folder in sys.path]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise EngineError("no nvcc: set CUDA_HOME, or give --library a prebuilt " + LIBRARY_NAME)


def _find_cutlass(build: pathlib.Path) -> pathlib.Path:
    """CUTLASS's headers, from its pip package; installed below `build` where they are not there."""
    home = build / "cutlass"
    include = home / "cutlass_library/source/include"
    if not include.exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(home)]
        _run([*command, "nvidia-cutlass==4.2.0.0"])
    return include


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise EngineError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")


def _is_current(target: pathlib.Path, newest_source: float) -> bool:
    return target.exists() and target.stat().st_mtime > newest_source


def build(folder: pathlib.Path, architecture: str, jobs: int, report: Callable[[str], None]) -> pathlib.Path:
    """Compiles the engine for one GPU architecture ("native", "sm_90", ...); what is up to date stays."""
    nvcc = find_nvcc()
    folder = folder / architecture
    folder.mkdir(parents=True, exist_ok=True)
    cutlass = _find_cutlass(folder.parent)
    sources = [*sorted(SOURCES.glob("*.cc")), ROOT / "tf_ops/wgrad/problem.cc"]
    newest = max(path.stat().st_mtime for path in [*SOURCES.iterdir(), *SOURCES.parent.glob("*.*")])
    flags = [
        "-std=c++17", "-O3", "--expt-relaxed-constexpr", f"-arch={architecture}", "-Xcompiler",
        "-fPIC,-fvisibility=hidden", f"-I{ROOT}", f"-I{cutlass}",
    ]  # fmt: skip

    def compile_one(source: pathlib.Path) -> str:
        target = folder / f"{source.name}.o"
        if not _is_current(target, newest):
            _run([str(nvcc), "-x", "cu", "-c", *flags, str(source), "-o", str(target)])
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(compile_one, source) for source in sources]
        for done, future in enumerate(concurrent.futures.as_completed(pending), 1):
            future.result()
            report(f"compiled {done} of {len(sources)} files")
    library = folder / LIBRARY_NAME
    if not _is_current(library, newest):
        objects = [future.result() for future in pending]
        _run([str(nvcc), "-shared", f"-arch={architecture}", *objects, "-o", str(library), "-ldl", "-lpthread", "-lrt"])
    return library
