"""Optional libraries, imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any


def import_extra(module: str, needed_by: str, package: str | None = None) -> Any:
    """The module; raises ImportError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = package or module.partition(".")[0]
        raise ImportError(f"{needed_by} needs {install}: pip install {install} (or 'shoal[tune]'); {error}") from error
