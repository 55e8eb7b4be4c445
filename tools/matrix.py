"""Builds and tests the plugin with each TensorFlow that it supports, and writes the compatibility tables of the pages.

Each TensorFlow is installed into a new environment, the plugin is built there from the source distribution, as pip does
for a user, and the tests run against what was installed. A row is written as soon as it is known; the rows of versions
that are not asked for stay. Logs go to build/matrix/. One version takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import sections

ROOT = pathlib.Path(__file__).parents[1]
LOGS = ROOT / "build" / "matrix"
PROGRAM = "tools/matrix.py"
PAGES = (ROOT / "README.md", ROOT / "docs" / "compatibility.md")

MINORS = runpy.run_path(str(ROOT / "version.bzl"))["TENSORFLOW_MINORS"]
# For each minor version its last release, and the Pythons of its wheels; the first stands for all, without --all.
RELEASES = {
    "2.16": ("2.16.2", ("3.10", "3.11", "3.12")),
    "2.17": ("2.17.1", ("3.11", "3.10", "3.12")),
    "2.18": ("2.18.1", ("3.12", "3.10", "3.11")),
    "2.19": ("2.19.1", ("3.12", "3.10", "3.11")),
    "2.20": ("2.20.0", ("3.13", "3.10", "3.11", "3.12")),
    "2.21": ("2.21.0", ("3.11", "3.10", "3.12", "3.13")),
}
# What depends on TensorFlow: the op, its contract and gradients, the functions that are patched, files, and XLA.
TESTS = (
    "test_bad_input",
    "test_contract",
    "test_gradients",
    "test_load_op_library",
    "test_nested_graphs",
    "test_patch",
    "test_python_api",
    "test_saved_model",
    "test_training_modes",
    "test_values",
    "test_vectorization",
    "test_version_check",
    "test_xla",
)
TEST_TOOLS = ("hypothesis", "pytest", "pytest-timeout", "setuptools")
XLA_QUERY = "from tensorflow_conv_backprop import library; print(library.xla_on_cpu())"
COLUMNS = ("TensorFlow", "Python", "Keras", "build", "XLA", "tests")
LIMIT_S = 3600


class Failed(Exception):
    """A step did not succeed; its log says why."""


class Environment:
    """A new virtual environment, and the log of what ran in it."""

    def __init__(self, folder: pathlib.Path, python: str, log: pathlib.Path) -> None:
        self.folder = folder
        self.python = str(folder / "venv" / "bin" / "python")
        self._log = log.open("w")
        self.run(python, "-m", "venv", str(folder / "venv"))

    def run(self, *command: str) -> str:
        """Standard output of the command. It runs away from the checkout, which has a build of its own."""
        environment = {**os.environ, "CUDA": "0", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": ""}
        print("$", *command, file=self._log, flush=True)
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        print(ran.stdout, file=self._log, flush=True)
        if ran.returncode != 0:
            raise Failed(ran.stdout)
        return ran.stdout

    def install(self, *arguments: str) -> None:
        self.run(self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)

    def ask(self, program: str) -> str:
        return self.run(self.python, "-c", program).strip().splitlines()[-1]


def find_python(version: str) -> str | None:
    """Its path: on $PATH, or among pyenv's."""
    installed = sorted(pathlib.Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for candidate in (shutil.which(f"python{version}"), *map(str, installed)):
        if candidate and subprocess.run([candidate, "-V"], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def source_distribution(folder: pathlib.Path) -> str:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    (sdist,) = folder.glob("*.tar.gz")
    return str(sdist)


def outcome(pytest_output: str) -> str:
    """ "= 7 failed, 311 passed, 2 skipped in 93.10s (0:01:33) =" -> "7 failed, 311 passed, 2 skipped" """
    summary = re.findall(r"((?:\d+ \w+, )*\d+ \w+) in [\d.]+s", pytest_output)
    return re.sub(r", \d+ warnings?", "", summary[-1]) if summary else "broke off"


def try_version(release: str, python_version: str, python: str, sdist: str) -> list[str]:
    """The row of the table."""
    row = dict.fromkeys(COLUMNS, "")
    row |= {"TensorFlow": release, "Python": python_version}
    with tempfile.TemporaryDirectory() as folder:
        try:
            row["build"] = "TensorFlow cannot be installed"
            environment = Environment(pathlib.Path(folder), python, LOGS / f"{release}-{python_version}.log")
            pinned = ["--constraint", str(ROOT / "tools" / "requirements.txt")]
            environment.install(f"tensorflow-cpu=={release}", *TEST_TOOLS, *pinned)
            row["Keras"] = environment.ask("import keras; print(keras.__version__)")
            row["build"] = "fails"
            environment.install("--no-build-isolation", "--no-deps", "--no-cache-dir", sdist)
            row["build"] = "yes"
            row["XLA"] = environment.ask(XLA_QUERY)
            row["tests"] = "broke off"
            tests = [str(ROOT / "tests" / f"{test}.py") for test in TESTS]
            options = ["-q", "--rootdir", str(ROOT), "-p", "no:cacheprovider", "--timeout", "600"]
            row["tests"] = outcome(environment.run(environment.python, "-m", "pytest", *options, *tests))
        except Failed as failure:
            if row["tests"]:
                row["tests"] = outcome(str(failure))
        except subprocess.TimeoutExpired:
            row["tests"] = f"not done after {LIMIT_S} s"
    return list(row.values())


def is_good(row: list[str]) -> bool:
    return bool(re.fullmatch(r"\d+ passed(, \d+ skipped)?", row[-1]))


def written_rows(page: pathlib.Path) -> Iterator[list[str]]:
    for line in sections.read(page, PROGRAM).splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def write(row: list[str]) -> None:
    """Puts the row into the tables, in place of one for the same versions."""
    for page in PAGES:
        rows = {(old[0], old[1]): old for old in written_rows(page)}
        rows[row[0], row[1]] = row
        ordered = sorted(
            rows.values(), key=lambda row: [int(part) for part in re.findall(r"\d+", row[0] + " " + row[1])]
        )
        lines = [list(COLUMNS), ["---"] * len(COLUMNS), *ordered]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        sections.write(page, PROGRAM, table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minor", nargs="*", help=f"of {', '.join(MINORS)}; by default each")
    parser.add_argument("--all", action="store_true", help="with every Python that TensorFlow has a wheel for")
    arguments = parser.parse_args()
    unknown = set(arguments.minor) - set(MINORS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))} is not among {', '.join(MINORS)}")

    LOGS.mkdir(parents=True, exist_ok=True)
    all_good = True
    with tempfile.TemporaryDirectory() as folder:
        sdist = source_distribution(pathlib.Path(folder))
        for minor in arguments.minor or MINORS:
            release, python_versions = RELEASES[minor]
            for version in python_versions if arguments.all else python_versions[:1]:
                python = find_python(version)
                if python is None:
                    print(f"no Python {version}: TensorFlow {release} was not tried with it", flush=True)
                    all_good = False
                    continue
                row = try_version(release, version, python, sdist)
                print(" | ".join(row), flush=True)
                write(row)
                all_good &= is_good(row)
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
