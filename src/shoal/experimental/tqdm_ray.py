"""Progress bars of tasks and actors, drawn by the driver: ``from shoal.experimental.tqdm_ray import tqdm``.

A bar in a worker prints its state as a line that starts with a magic token; the driver, which prints what workers
print, hands such
lines to ``process_line`` and draws one bar for each. Without tqdm installed the bars are plain text.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import shoal

__all__ = ["MAGIC_TOKEN", "process_line", "safe_print", "tqdm"]

MAGIC_TOKEN = "__shoal_progress_bar__:"
DEFAULT_FLUSH_INTERVAL_S = 1.0

_BAR_WIDTH = 20


class tqdm:  # noqa: N801  the name that programs import
    """A progress bar with the common part of tqdm's interface.

    ``iterable`` gives ``total`` when it has a length. ``position`` orders the bars of one process. At most one state is sent
    each ``flush_interval_s`` (1) seconds, and one when the bar closes.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ) -> None:
        self._iterable = iterable
        self.desc = desc or ""
        self.total = total if total is not None else _length_of(iterable)
        self.unit = unit or "it"
        self.n = 0
        self._position = position or 0
        self._id = uuid.uuid4().hex
        self._interval_s = DEFAULT_FLUSH_INTERVAL_S if flush_interval_s is None else flush_interval_s
        self._sent_at_s = -self._interval_s
        self._closed = False

    def update(self, n: int = 1) -> None:
        """``n`` more are done."""
        self.n += n
        self._send_if_due()

    def set_description(self, desc: str) -> None:
        self.desc = desc
        self._send_if_due()

    def refresh(self) -> None:
        """Sends the state if the interval is over."""
        self._send_if_due()

    def close(self) -> None:
        """Sends the last state; the bar stays on the screen as it is."""
        if not self._closed:
            self._closed = True
            self._send()

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("the bar can be iterated over only when it was made with an iterable, but got iterable=None")
        try:
            for item in self._iterable:
                yield item
                self.update(1)
        finally:
            self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def state(self) -> dict[str, Any]:
        """What the driver draws."""
        return {
            "id": self._id,
            "pid": os.getpid(),
            "position": self._position,
            "desc": self.desc,
            "total": self.total,
            "unit": self.unit,
            "n": self.n,
            "closed": self._closed,
        }

    def _send_if_due(self) -> None:
        now_s = time.monotonic()
        if now_s - self._sent_at_s >= self._interval_s:
            self._sent_at_s = now_s
            self._send()

    def _send(self) -> None:
        if _in_worker():
            # One write, so that lines of several threads do not mix.
            sys.stdout.write(f"{MAGIC_TOKEN}{json.dumps(self.state())}\n")
            sys.stdout.flush()
        else:
            _bars.show(self.state())


def process_line(line: str) -> bool:
    """Draws the bar that a worker's output line describes. False when the line is no such line, and is to be printed."""
    start = line.find(MAGIC_TOKEN)
    if start < 0:
        return False
    try:
        state = json.loads(line[start + len(MAGIC_TOKEN) :])
    except ValueError:
        return False
    _bars.show(state)
    return True


def safe_print(*values: Any, **keywords: Any) -> None:
    """``print`` that does not tear the bars on the screen apart."""
    with _bars.hidden():
        print(*values, **keywords)


class _Bars:
    """The bars that this process draws."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._drawn: dict[str, _Bar] = {}

    def show(self, state: dict[str, Any]) -> None:
        with self._lock:
            bar = self._drawn.get(state["id"])
            if bar is None:
                bar = self._drawn[state["id"]] = _new_bar(state, position=len(self._drawn))
            bar.show(state)
            if state["closed"]:
                bar.close()
                del self._drawn[state["id"]]

    def hidden(self) -> _Hidden:
        return _Hidden(self._lock, list(self._drawn.values()))


class _Hidden:
    """While it is entered, the screen is free for other output."""

    def __init__(self, lock: threading.RLock, bars: list[_Bar]) -> None:
        self._lock = lock
        self._bars = bars

    def __enter__(self) -> None:
        self._lock.acquire()
        for bar in self._bars:
            bar.hide()

    def __exit__(self, *exc_info: object) -> None:
        for bar in self._bars:
            bar.redraw()
        self._lock.release()


class _Bar:
    """A bar as plain text: a line for each state."""

    def __init__(self) -> None:
        self._text = ""

    def show(self, state: dict[str, Any]) -> None:
        text = as_text(state)
        if text != self._text:
            self._text = text
            print(text, file=sys.stderr, flush=True)

    def hide(self) -> None:
        """A line that was printed stays."""

    def redraw(self) -> None:
        """A line that was printed stays."""

    def close(self) -> None:
        """A line that was printed stays."""


class _TqdmBar(_Bar):
    """A bar drawn by tqdm."""

    def __init__(self, tqdm_class: Any, state: dict[str, Any], position: int) -> None:
        super().__init__()
        self._bar = tqdm_class(total=state["total"], desc=_title(state), unit=state["unit"], position=position, leave=True)

    def show(self, state: dict[str, Any]) -> None:
        self._bar.set_description(_title(state), refresh=False)
        self._bar.total = state["total"]
        self._bar.update(state["n"] - self._bar.n)

    def hide(self) -> None:
        self._bar.clear()

    def redraw(self) -> None:
        self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


def as_text(state: dict[str, Any]) -> str:
    """One line for one state of a bar."""
    n, total, unit = state["n"], state["total"], state["unit"]
    if not total:
        return f"{_title(state)}: {n} {unit}"
    filled = min(_BAR_WIDTH, _BAR_WIDTH * n // total)
    return f"{_title(state)}: [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {n}/{total} {unit}"


def _title(state: dict[str, Any]) -> str:
    place = "" if state["pid"] == os.getpid() else f"(pid={state['pid']})"
    return " ".join(part for part in (place, state["desc"]) if part)


def _new_bar(state: dict[str, Any], position: int) -> _Bar:
    try:
        from tqdm.auto import tqdm as tqdm_class  # optional, and slow to import
    except ImportError:
        return _Bar()
    return _TqdmBar(tqdm_class, state, position)


def _length_of(iterable: Any) -> int | None:
    return len(iterable) if hasattr(iterable, "__len__") else None


def _in_worker() -> bool:
    return shoal.is_initialized() and shoal.get_runtime_context().get_task_id() is not None


_bars = _Bars()
