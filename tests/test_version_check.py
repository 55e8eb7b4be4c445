"""A library that was built for another TensorFlow must not be opened."""

from __future__ import annotations

import importlib.metadata
import pathlib
import shutil
import subprocess
import sys

import pytest
import tensorflow as tf
import tensorflow_conv_backprop as plugin
from tensorflow_conv_backprop import library


@pytest.mark.parametrize(
    ("built_for", "running"), [("2.21.0", "2.21.0"), ("2.21.0", "2.21.1"), ("2.21.0", "2.21.0-rc1"), ("2.9.0", "2.9.3")]
)
def test_same_minor_version(built_for: str, running: str) -> None:
    library.check_tensorflow_version(built_for, running)


@pytest.mark.parametrize(("built_for", "running"), [("2.21.0", "2.20.0"), ("2.2.0", "2.21.0"), ("2.21.0", "3.21.0")])
def test_other_minor_version(built_for: str, running: str) -> None:
    with pytest.raises(ImportError, match=f"with {built_for}.*but TensorFlow {running} is running"):
        library.check_tensorflow_version(built_for, running)


def test_other_build_of_the_same_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks_a_symbol(_: str) -> None:
        raise tf.errors.NotFoundError(None, None, "_conv_backprop_ops.so: undefined symbol: _ZN4absl")

    monkeypatch.setattr(tf, "load_op_library", lacks_a_symbol)
    with pytest.raises(ImportError, match=r"lacks what it needs: build it from source.*undefined symbol: _ZN4absl"):
        library.load()


def imported(package: pathlib.Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(0, {str(package.parent)!r}); import tensorflow_conv_backprop"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


def is_installed(distribution: str) -> bool:
    try:
        return bool(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture
def package(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the package, with a library that cannot be opened."""
    original = pathlib.Path(plugin.__file__).parent
    copy = tmp_path / "tensorflow_conv_backprop"
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("*.so", "_build_info.py", "__pycache__"))
    (copy / pathlib.Path(plugin.library_path()).name).write_text("not a library")
    return copy


def test_import_says_what_to_install(package: pathlib.Path) -> None:
    (package / "_build_info.py").write_text("TENSORFLOW_VERSION = '2.3.4'\nVERSION = '5.6.7'\nCUDA_VERSION = None\n")
    run = imported(package)
    assert run.returncode == 1
    message = run.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: tensorflow-conv-backprop 5.6.7 was built for TensorFlow 2.3 (with 2.3.4)")
    assert f"TensorFlow {tf.version.VERSION} is running" in message
    installed = [name for name in ("tensorflow", "tensorflow-cpu") if is_installed(name)]
    assert any(f"pip install '{name}==2.3.*'" in message for name in installed)


def test_import_without_tensorflow(package: pathlib.Path) -> None:
    (package / "_build_info.py").write_text("TENSORFLOW_VERSION = '2.3.4'\nVERSION = '5.6.7'\nCUDA_VERSION = None\n")
    hidden = "import sys; sys.modules['tensorflow'] = None; "
    program = f"{hidden}sys.path.insert(0, {str(package.parent)!r}); import tensorflow_conv_backprop"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1
    message = run.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: tensorflow-conv-backprop 5.6.7 was built for TensorFlow 2.3.4, and none is")


def test_import_before_the_build(package: pathlib.Path) -> None:
    run = imported(package)
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("ImportError: the library of tensorflow_conv_backprop is not")
