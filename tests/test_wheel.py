"""The wheel and the source distribution: what is inside, and that the wheel works where there is no checkout."""

from __future__ import annotations

import email
import email.message
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from importlib import resources

import pytest
import setuptools
import tensorflow as tf
import tensorflow_conv_backprop as plugin

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINOR = ".".join(tf.version.VERSION.split(".")[:2])

LIBRARIES = ("_conv_backprop_ops.so", "_conv_backprop_xla.so")

USE = """
import pathlib, sys
import tensorflow as tf
import tensorflow_conv_backprop as plugin

here = pathlib.Path(sys.prefix)
assert here in pathlib.Path(plugin.__file__).parents, plugin.__file__
assert here in pathlib.Path(plugin.library_path()).parents, plugin.library_path()
print(tf.conv2d_backprop_filter_v2(
    tf.ones([1, 2, 3, 1]), tf.ones([2, 2, 1, 1]), tf.ones([1, 1, 2, 1]), [1, 1, 1, 1], "VALID").numpy().ravel().tolist())
"""


def build(directory: pathlib.Path) -> pathlib.Path:
    subprocess.run([ROOT / "build_pip_pkg.sh", directory], check=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def sdist(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The unpacked source distribution."""
    (archive,) = wheel.parent.glob("*.tar.gz")
    directory = tmp_path_factory.mktemp("sdist")
    with tarfile.open(archive) as tar:
        tar.extractall(directory)
    (unpacked,) = directory.iterdir()
    assert archive.name == f"{unpacked.name}.tar.gz" == f"tensorflow_conv_backprop-{plugin.__version__}.tar.gz"
    return unpacked


@pytest.fixture(scope="module")
def clean_python(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A new environment with the wheel. TensorFlow, half a gigabyte, is reached where it is already installed."""
    directory = tmp_path_factory.mktemp("clean")
    venv.create(directory, symlinks=True)
    python = directory / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    subprocess.run(pip, check=True)
    # A directory named in a .pth file has its own .pth files ignored, so this does not lead back to this checkout.
    query = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    (pathlib.Path(site) / "tensorflow.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_works_in_another_environment_and_directory(clean_python: pathlib.Path, tmp_path: pathlib.Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [clean_python, "-c", USE]
    ran = subprocess.run(command, check=True, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert ran.stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


def test_holds_the_package_and_nothing_else(wheel: pathlib.Path) -> None:
    source = ROOT / "python"
    package = source / "tensorflow_conv_backprop"
    expected = {str(path.relative_to(source)) for path in package.rglob("*.py")}
    expected |= {f"tensorflow_conv_backprop/{name}" for name in (*LIBRARIES, "py.typed")}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name and name[-1] != "/"}
    assert names == expected
    # 5.7 MB with machine code for five generations of GPUs, 0.4 MB without any.
    assert wheel.stat().st_size < 7e6


def metadata_of(wheel: pathlib.Path) -> email.message.Message:
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(archive.read(name))


def test_is_for_any_python_and_one_minor_version_of_tensorflow(wheel: pathlib.Path) -> None:
    version = f"{plugin.__version__}+tf{MINOR}"
    assert re.fullmatch(
        rf"tensorflow_conv_backprop-{re.escape(version)}-py3-none-manylinux_2_\d+_{os.uname().machine}\.whl", wheel.name
    )
    metadata = metadata_of(wheel)
    assert metadata["Version"] == version
    assert sorted(metadata.get_all("Requires-Dist", [])) == [
        'matplotlib<4,>=3.8; extra == "cli"',
        'rich<16,>=13; extra == "cli"',
        f'tensorflow-cpu~={MINOR}.0; extra == "cpu"',
        f'tensorflow[and-cuda]~={MINOR}.0; extra == "gpu"',
        f'tensorflow~={MINOR}.0; extra == "tensorflow"',
    ]


def make_wheel(directory: pathlib.Path, name: str, version: str, metadata: str = "") -> None:
    """A distribution that consists of its metadata alone."""
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(directory / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
        )
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


@pytest.mark.parametrize("installed", ["2.16.1", "2.18.1", "2.21.0"])
def test_pip_takes_the_wheel_for_the_tensorflow_that_is_named(installed: str, tmp_path: pathlib.Path) -> None:
    for minor in ("2.16", "2.18", "2.21"):
        requires = f'Provides-Extra: cpu\nRequires-Dist: tensorflow-cpu~={minor}.0; extra == "cpu"\n'
        make_wheel(tmp_path, "tensorflow-conv-backprop", f"0.1.0+tf{minor}", requires)
    for version in ("2.16.1", "2.18.1", "2.21.0"):
        make_wheel(tmp_path, "tensorflow-cpu", version)
    target = tmp_path / "installed"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--find-links",
        tmp_path,
        "--target",
        target,
    ]
    subprocess.run([*pip, "tensorflow-conv-backprop[cpu]", f"tensorflow-cpu=={installed}"], check=True)
    assert (target / f"tensorflow_conv_backprop-0.1.0+tf{installed[:-2]}.dist-info").exists()


def test_is_tagged_for_the_oldest_system_that_has_its_symbols(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """And needs no library that is neither TensorFlow's nor on every Linux."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    dump = ["objdump", "-p", *(tmp_path / "tensorflow_conv_backprop" / name for name in LIBRARIES)]
    dumped = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"NEEDED +(\S+)", dumped)) - {*LIBRARIES, "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    versions = set(re.findall(r"0x\w+ 0x\w+ \d+ ([A-Z]+)_([\d.]+)$", dumped, re.MULTILINE))
    assert {"GLIBC", "GLIBCXX"} <= {library for library, _ in versions}

    policies = json.loads(resources.files("auditwheel.policy").joinpath("manylinux-policy.json").read_text())
    (oldest, *_) = (
        policy["name"]
        for policy in sorted(policies, key=lambda policy: -policy["priority"])
        if policy["name"] != "linux"
        and needed - {"libtensorflow_framework.so.2", "libtensorflow_cc.so.2"} <= set(policy["lib_whitelist"])
        and all(number in policy["symbol_versions"][os.uname().machine].get(name, ()) for name, number in versions)
    )
    assert wheel.name.endswith(f"-{oldest}_{os.uname().machine}.whl")


def compiled_in() -> set[str]:
    """The outermost namespaces of the C++ that Bazel compiled into the libraries."""
    objects = [path for path in (ROOT / "bazel-bin" / "tf_ops").rglob("*.pic.o") if "/cuda/" not in str(path)]
    nm = subprocess.run(["nm", "--defined-only", *objects], check=True, capture_output=True, text=True)
    nested = re.findall(r" _Z(?:T[ISV]|GV)?N[rVKRO]*(?:(St)|(\d+)(\w+))", nm.stdout)
    return {"std" if std else name[: int(length)] for std, length, name in nested}


def test_licences_name_all_that_is_compiled_in(wheel: pathlib.Path) -> None:
    archive = zipfile.ZipFile(wheel)
    licences = {
        name.split("/licenses/")[1]: name for name in archive.namelist() if "/licenses/" in name and name[-1] != "/"
    }
    assert set(licences) == {"LICENSE", "third_party/LICENSES.md", "third_party/cutlass/LICENSE"}
    page = archive.read(licences["third_party/LICENSES.md"]).decode()
    listed = {
        name for cell in re.findall(r"^\|[^|]*\|([^|]*)\|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert {"tensorflow", "absl", "std"} <= compiled_in() - {"wgrad", "_GLOBAL__N_1"} <= listed


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_source_distribution_has_what_git_has(sdist: pathlib.Path) -> None:
    """Of what it needs to be built and tested; a build that lies in the checkout stays out."""
    folders = ["benchmarks", "docs", "examples", "python", "tests", "tf_ops", "third_party", "tools"]
    git = ["git", "ls-files", "-co", "--exclude-standard", *folders]
    listed = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    packed = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()}
    expected = {path for path in listed if (ROOT / path).exists()}
    assert packed - expected == {
        *(".bazelrc", ".bazelversion", "BUILD", "WORKSPACE", "version.bzl", "Makefile", "MANIFEST.in", "CHANGELOG.md"),
        *("build_pip_pkg.sh", "mkdocs.yml"),
        *("LICENSE", "README.md", "pyproject.toml", "setup.py", "setup.cfg", "PKG-INFO"),
        *(path for path in packed if ".egg-info/" in path),
    }
    assert expected <= packed


@pytest.mark.parametrize(
    ("tensorflow", "message"),
    [
        ("2.15.1", "TensorFlow 2.15.1 is installed; tensorflow-conv-backprop builds against 2.16, 2.17"),
        ("2.22.0", "TensorFlow 2.22.0 is installed"),
        (None, "this environment has none. Install one of 2.16, 2.17"),
    ],
)
def test_building_from_source_says_early_what_it_needs(
    tensorflow: str | None, message: str, sdist: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("setuptools", "_distutils_hack"):
        (packages / name).symlink_to(pathlib.Path(setuptools.__file__).parents[1] / name)
    if tensorflow:
        (packages / f"tensorflow_cpu-{tensorflow}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: {tensorflow}\n"
        (packages / f"tensorflow_cpu-{tensorflow}.dist-info" / "METADATA").write_text(metadata)
    hook = "from setuptools import build_meta; build_meta.get_requires_for_build_wheel()"
    run = subprocess.run(
        [tmp_path / "venv" / "bin" / "python", "-c", hook],
        cwd=sdist,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert message in run.stderr.strip().splitlines()[-1]


def test_editable_install_has_the_libraries_in_the_checkout(sdist: pathlib.Path, tmp_path: pathlib.Path) -> None:
    checkout, built = tmp_path / "checkout", tmp_path / "built"
    shutil.copytree(sdist, checkout)
    built.mkdir()
    names = ["_build_info.py", *LIBRARIES]
    for name in names:
        (built / name).write_text("")
    (built / "_build_info.py").write_text("TENSORFLOW_VERSION = '2.21.0'\n")
    hook = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    environment = {**os.environ, "CONV_BACKPROP_BUILT": str(built)}
    subprocess.run([sys.executable, "-c", hook], cwd=checkout, env=environment, check=True, capture_output=True)
    package = checkout / "python" / "tensorflow_conv_backprop"
    assert [name for name in names if not (package / name).exists()] == []


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_export_the_c_interface_alone(name: str, wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    library = zipfile.ZipFile(wheel).extract(f"tensorflow_conv_backprop/{name}", tmp_path)
    nm = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    symbols = [line.split()[-1] for line in nm.stdout.splitlines()]
    assert ("wgrad_plan" in symbols) == (name == "_conv_backprop_ops.so")
    assert [symbol for symbol in symbols if not symbol.startswith("wgrad_")] == []


def test_two_builds_give_the_same_bytes(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert build(tmp_path).read_bytes() == wheel.read_bytes()
