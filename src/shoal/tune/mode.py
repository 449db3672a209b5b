"""The direction of optimisation."""

from __future__ import annotations

from typing import Any


def check_mode(mode: Any, required: bool = False) -> Any:
    """``mode`` itself; raises ValueError when it is neither "min" nor "max" (nor None, unless ``required``)."""
    if mode is None and not required:
        return None
    if mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max', but got mode={mode!r}")
    return mode


def sign_of(mode: str) -> float:
    """1 when more is better, -1 when less is."""
    return 1.0 if check_mode(mode, required=True) == "max" else -1.0
