"""The pages of docs/ name what there is; `make docs` checks their links."""

import pathlib
import re
import runpy

import tensorflow_conv_backprop as plugin

ROOT = pathlib.Path(__file__).parents[1]


def test_api_reference_is_complete() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    documented = set(re.findall(r"^::: tensorflow_conv_backprop\.(\w+)$", page, re.MULTILINE))
    assert documented == set(plugin.__all__) - {"__version__", "compat"}
    assert "tensorflow_conv_backprop.compat.v1.conv2d_backprop_filter_v2" in page


def test_contributing_names_every_make_target() -> None:
    (line,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    page = (ROOT / "docs" / "contributing.md").read_text()
    named = {target or "build" for target in re.findall(r"^\| `make ?([\w-]*)", page, re.MULTILINE)}
    assert named == set(line.split()) - {"setup", "lint-tools"}


def test_files_that_the_pages_name_exist() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for path in re.findall(
            r"`((?:tools|tests|tf_ops|third_party|benchmarks|examples)/[\w./-]+)`", page.read_text()
        ):
            assert "NAME" in path or (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_tensorflow_that_is_accepted_has_passed_the_matrix() -> None:
    accepted = runpy.run_path(str(ROOT / "version.bzl"))["TENSORFLOW_MINORS"]
    for page in ("README.md", "docs/compatibility.md"):
        passing = re.findall(
            r"^\| (2\.\d+)\.\d+ \|.*\| yes \|.*\| \d+ passed(?:, \d+ skipped)? \|$",
            (ROOT / page).read_text(),
            re.MULTILINE,
        )
        assert passing == accepted, page
