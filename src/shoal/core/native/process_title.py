"""What ps and top show of a worker: the name of what it executes, in the place of the command line."""

from __future__ import annotations

from shoal import _kernel


def show_title(idle: str) -> None:
    """From now on the title is ``ray::`` and the name of what is executed; ``idle`` in between."""
    _kernel.set_title(idle)
