"""The engine as a shared library: compiling it with nvcc alone, and calling it through ctypes."""

from __future__ import annotations

import concurrent.futures
import ctypes
import importlib.util
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
# What has code for one architecture alone, and is called on no other.
_ARCHITECTURE_OF = {"wgmma.cu.cc": "-gencode=arch=compute_90a,code=sm_90a"}
# ptxas's remark that it lets each of Hopper's products wait for the one before: a third of the speed is lost.
_SERIALIZED = "wgmma.mma_async instructions are serialized"
_LIBRARIES = ("-ldl", "-lpthread", "-lrt")

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
        ("clusters", ctypes.c_int32),
    ]


class Tensors(ctypes.Structure):
    """Mirrors WgradCudaTensors: device pointers and a cudaStream_t."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("input", "out_backprop", "filter_backprop", "stream")]


_PROBLEM, _CHOICE, _TENSORS = (ctypes.POINTER(structure) for structure in (Problem, Choice, Tensors))

# Result and arguments of each function wgrad_cuda_NAME.
SIGNATURES = {
    "plans": (ctypes.c_char_p, [_PROBLEM, _CHOICE]),
    "workspace_bytes": (ctypes.c_int64, [_PROBLEM, _CHOICE]),
    "launch": (ctypes.c_int, [_PROBLEM, _CHOICE, _TENSORS, ctypes.c_void_p]),
    "compute": (ctypes.c_char_p, [_PROBLEM, ctypes.c_int, ctypes.c_int, ctypes.c_int, _TENSORS, Allocate]),
    "error": (ctypes.c_char_p, []),
}


class Engine:
    """The functions of tf_ops/wgrad/cuda/c_api.h on the current device. All raise EngineError."""

    def __init__(self, path: pathlib.Path) -> None:
        try:
            library = ctypes.CDLL(str(path.resolve()))
            for name, (result, arguments) in SIGNATURES.items():
                function = getattr(library, f"wgrad_cuda_{name}")
                function.restype, function.argtypes = result, arguments
                setattr(self, f"_{name}", function)
        except (OSError, AttributeError) as error:
            raise EngineError(f"{path} is not the engine: {error}") from error
        self.plans(Problem(), Choice())  # an error where the library has no code for the device

    def plans(self, problem: Problem, choice: Choice) -> list[dict]:
        return json.loads(self._expect(self._plans(ctypes.byref(problem), ctypes.byref(choice))))

    def workspace_bytes(self, problem: Problem, choice: Choice) -> int:
        count = self._workspace_bytes(ctypes.byref(problem), ctypes.byref(choice))
        return self._expect(count if count >= 0 else None)

    def launch(self, problem: Problem, choice: Choice, tensors: Tensors, workspace: int) -> None:
        code = self._launch(
            ctypes.byref(problem), ctypes.byref(choice), ctypes.byref(tensors), ctypes.c_void_p(workspace)
        )
        self._expect(code if code == 0 else None)

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
        return self._expect(name).decode()

    def _expect(self, value):
        if value is None:
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


def find_cutlass(build: pathlib.Path) -> pathlib.Path:
    """CUTLASS's headers: $CUTLASS_INCLUDE, or those of its pip package, installed below `build` if it is not there."""
    candidates = [pathlib.Path(os.environ["CUTLASS_INCLUDE"])] if os.environ.get("CUTLASS_INCLUDE") else []
    installed = importlib.util.find_spec("cutlass_library")
    folders = [*(installed.submodule_search_locations or ())] if installed else []
    own = build / "cutlass"
    candidates += [pathlib.Path(folder, "source/include") for folder in [*folders, own / "cutlass_library"]]
    for candidate in candidates:
        if (candidate / "cutlass/cutlass.h").exists():
            return candidate
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(own)]
    _run([*command, "nvidia-cutlass==4.2.0.0"])
    return candidates[-1]


def nvcc_version(nvcc: pathlib.Path) -> str:
    """ "Cuda compilation tools, release 13.0, V13.0.88" -> "13.0.88" """
    return _run([str(nvcc), "--version"]).partition(" V")[2].split()[0]


def _run(command: list[str]) -> str:
    """Its output."""
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0 or _SERIALIZED in result.stderr:
        raise EngineError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def _is_current(target: pathlib.Path, newest_source: float) -> bool:
    return target.exists() and target.stat().st_mtime > newest_source


def _newest(sources: list[pathlib.Path]) -> float:
    """When they or the headers were last changed."""
    headers = [*SOURCES.parent.glob("*.h"), *SOURCES.parent.glob("c[pu]*/*.h")]
    return max(path.stat().st_mtime for path in [*headers, *sources])


def _link(
    compiler: list[str],
    sources: list[pathlib.Path],
    folder: pathlib.Path,
    jobs: int,
    report: Callable[[str], None],
) -> pathlib.Path:
    """The library of `sources`; what is up to date stays."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = _newest(sources)

    def compile_one(source: pathlib.Path) -> str:
        target = folder / f"{source.name}.o"
        if not _is_current(target, newest):
            own = _ARCHITECTURE_OF.get(source.name)
            code = [own if own and part.startswith("-arch=") else part for part in compiler]
            try:
                _run([*code, "-c", str(source), "-o", str(target)])
            except EngineError:
                target.unlink(missing_ok=True)
                raise
        return str(target)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(compile_one, source) for source in sources]
        for done, future in enumerate(concurrent.futures.as_completed(pending), 1):
            future.result()
            report(f"compiled {done} of {len(sources)} files")
    library = folder / LIBRARY_NAME
    if not _is_current(library, newest):
        linker = [part for part in compiler if part not in ("-x", "cu")]
        _run([*linker, "-shared", *(future.result() for future in pending), "-o", str(library), *_LIBRARIES])
    return library


def build(folder: pathlib.Path, architecture: str, jobs: int, report: Callable[[str], None]) -> pathlib.Path:
    """Compiles the engine for one GPU architecture, such as "sm_90"."""
    nvcc = find_nvcc()
    sources = [*sorted(SOURCES.glob("*.cc")), SOURCES.parent / "problem.cc"]
    target = folder / f"{architecture}-nvcc{nvcc_version(nvcc)}"
    if _is_current(target / LIBRARY_NAME, _newest(sources)):
        return target / LIBRARY_NAME  # without asking for CUTLASS, which a machine may not reach
    compiler = [
        str(nvcc), "-x", "cu", "-std=c++17", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr", f"-arch={architecture}",
        "-Xcompiler", "-fPIC,-fvisibility=hidden", f"-I{ROOT}", f"-I{find_cutlass(folder)}",
        f"-DWGRAD_CUDA_OLDEST={architecture.removeprefix('sm_')}",
        f"-L{nvcc.parents[1] / 'lib'}",  # where pip's packages have the runtime
    ]  # fmt: skip
    return _link(compiler, sources, target, jobs, report)


def build_for_host(folder: pathlib.Path, jobs: int, report: Callable[[str], None]) -> pathlib.Path:
    """Compiles the engine for the host, with what stands in for CUDA and CUTLASS in the engine's own tests."""
    compiler = ["g++", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", f"-I{ROOT}"]
    of_cuda = {"device.cc", "stopwatch.cc", "wgmma.cu.cc"}
    own = [path for path in SOURCES.glob("*.cc") if path.name not in of_cuda and not path.name.startswith("gemm_")]
    stand_ins = [ROOT / f"tests/engine/cuda_host_{part}.cc" for part in ("device", "kernels")]
    return _link(compiler, [*sorted(own), *stand_ins, SOURCES.parent / "problem.cc"], folder / "host", jobs, report)
