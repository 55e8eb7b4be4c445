"""What depends on the TensorFlow that is installed: the libraries, and the metadata about it. The rest: pyproject.toml."""

import contextlib
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = pathlib.Path(__file__).parent
PACKAGE = "python/tensorflow_conv_backprop"
STATED = runpy.run_path(str(ROOT / "version.bzl"))
# A folder with the libraries, from build_pip_pkg.sh. Without, they are built here, for the TensorFlow of this Python.
BUILT = os.environ.get("CONV_BACKPROP_BUILT")


def installed_tensorflow() -> str:
    """Its version. TensorFlow need not be imported, which takes seconds, to be refused."""
    for distribution in ("tensorflow", "tensorflow-cpu"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    sys.exit(
        "tensorflow-conv-backprop builds against the TensorFlow that is installed, and this environment has none. Install "
        f"one of {', '.join(STATED['TENSORFLOW_MINORS'])} first, and 'setuptools>=77', and run pip with "
        "--no-build-isolation."
    )


def tensorflow_minor() -> str:
    """Of the TensorFlow that the libraries are built for."""
    built_for = runpy.run_path(str(pathlib.Path(BUILT, "_build_info.py")))["TENSORFLOW_VERSION"] if BUILT else None
    version = built_for or installed_tensorflow()
    minor = ".".join(version.split(".")[:2])
    if minor not in STATED["TENSORFLOW_MINORS"]:
        minors = ", ".join(STATED["TENSORFLOW_MINORS"])
        sys.exit(f"TensorFlow {version} is installed; tensorflow-conv-backprop builds against {minors}.")
    return minor


def run(*command: str) -> str:
    ran = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f"tensorflow-conv-backprop was not built: {command[0]} failed, as it says above.")
    return ran.stdout.strip()


class BuildLibraries(build_py):
    """Adds the libraries to the Python files, and what they were built for."""

    def run(self) -> None:
        super().run()
        if BUILT:
            self.add(pathlib.Path(BUILT))
            return
        bazel = run("tools/find_bazel.sh")
        with tempfile.TemporaryDirectory() as scratch:
            run(
                *(bazel, "--batch", f"--output_base={scratch}/base", "build", f"--symlink_prefix={scratch}/"),
                f"--repo_env=PYTHON_BIN_PATH={sys.executable}",
                "--copt=-Wno-error",  # a compiler newer than ours may warn of more
                f"//{PACKAGE}",
            )
            self.add(pathlib.Path(scratch, "bin", PACKAGE))

    def add(self, folder: pathlib.Path) -> None:
        # What is editable is imported from where it lies.
        package = ROOT / PACKAGE if self.editable_mode else pathlib.Path(self.build_lib, pathlib.Path(PACKAGE).name)
        for file in (folder / "_build_info.py", *folder.glob("_conv_backprop_*.so")):
            target = package / file.name
            shutil.copyfile(file, target)
            target.chmod(0o644)


class Package(Distribution):
    """One with a compiled library, though setuptools has not compiled it."""

    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python 3: the library does not use Python's binary interface."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


MINOR = tensorflow_minor()

setup(
    # Wheels for several versions of TensorFlow lie side by side, and pip tells them apart by the part after "+". What pip
    # builds from the source distribution must have the version of that.
    version=STATED["VERSION"] + (f"+tf{MINOR}" if BUILT else ""),
    # The same TensorFlow comes as two distributions that overwrite each other's files, tensorflow and tensorflow-cpu, and
    # a dependency cannot say "either". A plain one on tensorflow would break every installed tensorflow-cpu, so the
    # choice is the user's: `pip install tensorflow-conv-backprop[cpu]`. Importing checks the version however it came.
    extras_require={
        "cli": ["matplotlib>=3.8,<4", "rich>=13,<16"],
        "cpu": [f"tensorflow-cpu~={MINOR}.0"],
        "tensorflow": [f"tensorflow~={MINOR}.0"],
        "gpu": [f"tensorflow[and-cuda]~={MINOR}.0"],
    },
    distclass=Package,
    cmdclass={"bdist_wheel": PlatformWheel, "build_py": BuildLibraries},
)
