"""Packages that only the command line needs, and that come with the extra `cli`."""

from __future__ import annotations

import importlib
from typing import Any


class MissingExtra(Exception):
    """One of the packages is not installed; the message says how to install it."""


def need(module: str) -> Any:
    """The module, imported.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # it is installed, and lacks something itself
        raise MissingExtra(
            f"this command needs {package}, which is not installed: pip install 'tensorflow-conv-backprop[cli]'"
        ) from None
