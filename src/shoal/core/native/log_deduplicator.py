"""Lines that several workers print alike, but for numbers, are shown once at once, and then counted for a while."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

WINDOW_S = 5.0
HINT = " (what several processes print alike is shown once and then counted; RAY_DEDUP_LOGS=0 shows every line)"
"""Behind the first count."""

_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


class Line(NamedTuple):
    """A line with its ``prefix``, and whether it goes to standard error."""

    is_error: bool
    prefix: str
    text: str


class _Alike:
    def __init__(self, last: Line, since_s: float, sources: set[int]) -> None:
        self.last = last
        self.since_s = since_s
        self.sources = sources
        self.count = 0  # not shown yet


class LogDeduplicator:
    """Decides which lines are shown now. The caller gives the time, on any clock.

    The environment rules: RAY_DEDUP_LOGS=0 shows everything, RAY_DEDUP_LOGS_AGG_WINDOW_S (5) is how long lines are counted,
    lines in which RAY_DEDUP_LOGS_ALLOW_REGEX is found are always shown, those with RAY_DEDUP_LOGS_SKIP_REGEX never."""

    def __init__(self) -> None:
        read = os.environ.get
        self._enabled = read("RAY_DEDUP_LOGS", "1") != "0"
        self.window_s = float(read("RAY_DEDUP_LOGS_AGG_WINDOW_S") or WINDOW_S)
        self._allowed = _pattern(read("RAY_DEDUP_LOGS_ALLOW_REGEX"))
        self._skipped = _pattern(read("RAY_DEDUP_LOGS_SKIP_REGEX"))
        self._alike: dict[str, _Alike] = {}
        """The oldest first."""
        self._hint = HINT

    def add(self, line: Line, source: int, now_s: float) -> list[Line]:
        """What is to be shown now: perhaps the line, and counts that are due. ``source``: the process that has printed it."""
        if not self._enabled:
            return [line]
        if self._skipped and self._skipped.search(line.text):
            return []
        key = _NUMBERS.sub("", line.text)
        if not key.strip() or (self._allowed and self._allowed.search(line.text)):
            return [line]
        shown = self.due(now_s)
        known = self._alike.get(key)
        if known is None:
            self._alike[key] = _Alike(line, now_s, {source})
            return [*shown, line]
        known.sources.add(source)
        if len(known.sources) == 1:
            return [*shown, line]
        known.last, known.count = line, known.count + 1
        return shown

    def due(self, now_s: float = float("inf")) -> list[Line]:
        """The counts whose window is over; by default all."""
        shown = []
        for key, known in list(self._alike.items()):
            if now_s - known.since_s < self.window_s:
                break
            del self._alike[key]
            if known.count:
                shown.append(self._counted(known))
                if now_s < float("inf"):
                    known.count, known.since_s = 0, now_s
                    self._alike[key] = known
        return shown

    def counts(self) -> bool:
        """Whether some line is still to be shown."""
        return any(known.count for known in self._alike.values())

    def _counted(self, known: _Alike) -> Line:
        if known.count == 1:
            return known.last
        text = f"{known.last.text} [repeated {known.count}x across cluster]{self._hint}"
        self._hint = ""
        return known.last._replace(text=text)


def _pattern(text: str | None) -> re.Pattern[str] | None:
    return re.compile(text) if text else None
