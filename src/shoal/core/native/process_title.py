"""What ps and top show of a worker: the name of what it executes, in the place of the command line."""

from __future__ import annotations

from shoal import _kernel

# Fields of /proc/self/stat behind the name of the program (proc(5)): where the command line begins and ends in memory.
_ARGUMENTS_START = 45
_ARGUMENTS_END = 46


def show_title(idle: str) -> None:
    """From now on the title is ``ray::`` and the name of what is executed; ``idle`` in between."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[_ARGUMENTS_START]), int(fields[_ARGUMENTS_END])
    _kernel.set_title(start, end - start, idle)
