"""Optional libraries, imported when they are first needed."""

from __future__ import annotations

import importlib
from typing import Any

_IN_EXTRA = ("optuna", "scikit-learn")  # what the extra of pyproject.toml installs and this function is asked for


def import_extra(module: str, needed_by: str, package: str | None = None) -> Any:
    """The module; raises ImportError that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        install = package or module.partition(".")[0]
        also = " (or 'shoal[tune]')" if install in _IN_EXTRA else ""
        raise ImportError(f"{needed_by} needs {install}: pip install {install}{also}; {error}") from error
