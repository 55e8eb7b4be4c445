"""A hook of MkDocs: the pages may show what is in benchmarks/results/, which lies outside docs/."""

from __future__ import annotations

import pathlib
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_LINK = "../benchmarks/results/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = pathlib.Path(config.config_file_path).parent
    for file in sorted((root / "benchmarks/results").glob("*")):
        files.append(File.generated(config, f"results/{file.name}", abs_src_path=str(file)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(_LINK, "results/")
