"""Tables and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tensorflow_conv_backprop.cli.extras import need

_Item = TypeVar("_Item")


def progress(items: Sequence[_Item], description: str) -> Iterator[_Item]:
    """The items, with a bar on standard error that goes away after the last."""
    console = need("rich.console").Console(stderr=True)
    yield from need("rich.progress").track(items, description, console=console, transient=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table, the first column to the left and the others to the right."""
    table = need("rich.table").Table(box=need("rich.box").SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # Off a terminal, rich takes 80 columns and cuts what is wider.
    need("rich.console").Console(width=None if sys.stdout.isatty() else 120).print(table)
