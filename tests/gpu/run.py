"""Checks and times the CUDA engine on this machine's GPU. Needs NumPy and PyTorch with CUDA, not Bazel or TensorFlow.

Writes results.json and results.md. Exit status: 0 all checks passed, 1 some failed, 2 it could not run.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

# What imports NumPy or PyTorch is imported late: where one is missing, that must be one clear line.

_FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build/gpu"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, help="a prebuilt engine library; compiled by default")
    parser.add_argument("--build-dir", type=pathlib.Path, default=_FOLDER, help="default: %(default)s")
    parser.add_argument("--architecture", help="what to compile for, such as sm_90; default: the GPU of this machine")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="files to compile at once")
    parser.add_argument("--out", type=pathlib.Path, default=_FOLDER, help="folder of the results")
    parser.add_argument(
        "--host", action="store_true", help="run a few cases on the processor: this checks the harness, not the kernels"
    )
    parser.add_argument("--only", choices=["build", "correctness", "performance", "sanitizer", "subset"])
    return parser.parse_args()


def _why_not(arguments: argparse.Namespace) -> str:
    try:
        import numpy  # noqa: F401
    except ImportError:
        return "NumPy is not installed: pip install numpy"
    if arguments.only == "build" and (arguments.host or arguments.architecture):
        return ""
    try:
        import torch
    except ImportError:
        return "PyTorch is not installed: pip install torch"
    if arguments.host:
        return ""
    if torch.version.cuda is None:
        return "this PyTorch is built without CUDA"
    return "" if torch.cuda.is_available() else "PyTorch sees no CUDA device"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _build(arguments: argparse.Namespace) -> pathlib.Path:
    import engine

    if arguments.host:
        return engine.build_for_host(arguments.build_dir, arguments.jobs, _say)
    return engine.build(arguments.build_dir, arguments.architecture or _architecture(), arguments.jobs, _say)


def _architecture() -> str:
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def main() -> int:
    arguments = _arguments()
    why_not = _why_not(arguments)
    if why_not:
        _say(f"test-gpu: {why_not}; nothing was checked")
        return 2
    from engine import Engine, EngineError

    try:
        library = arguments.library or _build(arguments)
        if arguments.only == "build":
            return 0
        engine = Engine(library)
    except EngineError as error:
        _say(f"test-gpu: {error}")
        return 2
    import stages

    device = stages.Host() if arguments.host else stages.Gpu()
    if arguments.only == "subset":
        return stages.check_subset(engine, device, _say)
    return stages.run_all(engine, device, library, arguments.out, arguments.only, _say)


if __name__ == "__main__":
    sys.exit(main())
