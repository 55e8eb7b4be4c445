"""The parts of the pages that programs measure and write, each between two comments that name the program."""

from __future__ import annotations

import pathlib

END = "<!-- to here -->\n"


def read(page: pathlib.Path, program: str) -> str:
    """What the program wrote last; an error where the page has no place for it."""
    return _parts(page, program)[1]


def write(page: pathlib.Path, program: str, text: str) -> None:
    """Puts the text in the place of what the program wrote last."""
    before, _, after = _parts(page, program)
    page.write_text(before + text + after)


def _parts(page: pathlib.Path, program: str) -> tuple[str, str, str]:
    text = page.read_text()
    begin = f"<!-- {program} writes from here -->\n"
    start = text.index(begin) + len(begin)
    end = text.index(END, start)
    return text[:start], text[start:end], text[end:]
