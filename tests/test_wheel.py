"""The wheel: what is inside, and that it works in an environment that has never seen this checkout."""

import email
import os
import pathlib
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parent.parent

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
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert wheel.stat().st_size < 3e6


def test_is_for_any_python_and_pins_the_minor_version_of_tensorflow(wheel: pathlib.Path) -> None:
    assert wheel.name.endswith(f"-py3-none-linux_{os.uname().machine}.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    requirements = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    minor = ".".join(tf.version.VERSION.split(".")[:2])
    assert sorted(requirements) == [
        'matplotlib<4,>=3.8; extra == "cli"',
        'rich<16,>=13; extra == "cli"',
        f'tensorflow-cpu~={minor}.0; extra == "cpu"',
        f'tensorflow[and-cuda]~={minor}.0; extra == "gpu"',
        f'tensorflow~={minor}.0; extra == "tensorflow"',
    ]


@pytest.mark.parametrize("name", LIBRARIES)
def test_libraries_export_the_c_interface_alone(name: str, wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    library = zipfile.ZipFile(wheel).extract(f"tensorflow_conv_backprop/{name}", tmp_path)
    nm = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True)
    symbols = [line.split()[-1] for line in nm.stdout.splitlines()]
    assert ("wgrad_plan" in symbols) == (name == "_conv_backprop_ops.so")
    assert [symbol for symbol in symbols if not symbol.startswith("wgrad_")] == []


def test_two_builds_give_the_same_bytes(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert build(tmp_path).read_bytes() == wheel.read_bytes()
