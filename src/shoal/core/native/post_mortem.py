"""Stopping where user code has raised, for a debugger to look: ``RAY_DEBUG_POST_MORTEM=1``."""

from __future__ import annotations

import os
import sys

VARIABLE = "RAY_DEBUG_POST_MORTEM"


def look_at(error: BaseException) -> None:
    """A task or call has raised. With the variable set to 1 here, waits until a debugger has attached and gone on."""
    if os.environ.get(VARIABLE) == "1":
        # By way of the package: the debugger is a library, and lies above this layer.
        sys.modules["shoal"].util.rpdb.post_mortem(error)
