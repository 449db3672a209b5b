"""Output of a worker that says which task printed a line: the node's log reader takes the marks out again."""

from __future__ import annotations

import io
import sys

from shoal import _kernel
from shoal.core.native.calls import UNTOLD

MARK = "\x01shoal-task:"
"""Begins a line that is no output: what follows, to the line's end, is the name of whoever prints the lines after it."""


class NamedOutput(io.TextIOWrapper):
    """Writes a mark before the first line of each task. Only at the beginning of a line: a line has one author."""

    _record = 0
    _at_line_start = True

    def write(self, text: str) -> int:
        record = _kernel.current_record()
        if record and record != self._record and self._at_line_start:
            self._record = record
            super().write(f"{MARK}{_kernel.record_name(record).removeprefix(UNTOLD)}\n")
        if not text:
            return 0
        count = super().write(text)
        self._at_line_start = text[-1] == "\n"
        if not self._at_line_start:
            self.flush()  # nobody says when the rest comes
        return count


def install() -> None:
    """Lets ``sys.stdout`` and ``sys.stderr`` of this process name the tasks."""
    sys.stdout = sys.__stdout__ = _named(1, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _named(2, "backslashreplace")  # type: ignore[misc]


def announce(name: str) -> None:
    """Lines of this process are from ``name``, until told otherwise."""
    for output in (sys.stdout, sys.stderr):
        output.write(f"{MARK}{name.splitlines()[0] if name else ''}\n")
        output.flush()


def _named(descriptor: int, errors: str) -> NamedOutput:
    # A wrapper of its own: modules that were imported earlier may have kept the old one.
    raw = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
    return NamedOutput(raw, encoding="utf-8", errors=errors, line_buffering=True)
