"""Plug-ins by their short names."""

from __future__ import annotations

import importlib
import inspect
from typing import Any


def create_by_name(kind: str, known: dict[str, str], package: str, name: Any, arguments: dict[str, Any]) -> Any:
    """An instance of ``known[name]`` ("module:class" in ``package``) with those of ``arguments`` that it takes."""
    key = name.lower() if isinstance(name, str) else name
    if key not in known:
        raise ValueError(f"{kind} must be one of {sorted(known)}, but got {name!r}")
    module, class_name = known[key].split(":")
    found = getattr(importlib.import_module(f"{package}.{module}"), class_name)
    parameters = inspect.signature(found).parameters
    return found(**{key: value for key, value in arguments.items() if key in parameters})
