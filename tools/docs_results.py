"""A hook of MkDocs: the pages may show what is in benchmarks/results/, which lies outside docs/."""

from __future__ import annotations

import pathlib
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_LINK = "../benchmarks/results/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    results = pathlib.Path(config.config_file_path).parent / "benchmarks/results"
    for file in sorted(file for file in results.rglob("*") if file.is_file()):
        files.append(File.generated(config, f"results/{file.relative_to(results)}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(_LINK, "results/")
