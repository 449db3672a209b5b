"""What workers print, shown by the driver with a prefix that says who printed it."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from shoal.core.native import messages
from shoal.core.native.log_deduplicator import Line, LogDeduplicator

if TYPE_CHECKING:
    from collections.abc import Iterable

CYAN = "\x1b[36m"
RESET = "\x1b[0m"
PROGRESS_BAR_TOKEN = "__shoal_progress_bar__:"
"""Starts the lines in which tasks report their progress bars, see ``shoal.experimental.tqdm_ray``."""


class LogPrinter:
    """Writes log lines to this process's output, those of standard error to its standard error. Lines that several workers
    print are counted, see ``LogDeduplicator``. ``plain``: without saying who printed them."""

    def __init__(self, plain: bool = False) -> None:
        colored = os.environ.get("RAY_COLOR_PREFIX", "1") == "1" and sys.stderr.isatty()
        self._before, self._after = (CYAN, RESET) if colored else ("", "")
        self._plain = plain or os.environ.get("RAY_DISABLE_WORKER_LOG_PREFIX", "0") == "1"
        self._deduplicator = LogDeduplicator()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __call__(self, notification: Any) -> None:
        if isinstance(notification, messages.LogLines):
            self._print(notification)
        elif isinstance(notification, messages.CollectGarbage):
            # In a thread of its own: what it finalizes may ask the daemon, whose answers this thread reads.
            threading.Thread(target=gc.collect, name="collect-garbage", daemon=True).start()
        elif isinstance(notification, messages.ErrorEvent):
            sys.stderr.write(f"shoal: {notification.message}\n")  # print would write the end of the line on its own
            sys.stderr.flush()

    def flush(self) -> None:
        """Shows what has been counted so far: the session ends."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            _write(self._deduplicator.due())

    def _print(self, lines: messages.LogLines) -> None:
        prefix = "" if self._plain else f"{self._before}({lines.name or 'worker'} pid={lines.pid}){self._after} "
        with self._lock:
            shown: list[Line] = []
            for text in lines.lines:
                if not _is_drawn(text):
                    shown += self._deduplicator.add(Line(lines.is_error, prefix, text), lines.pid, time.monotonic())
            _write(shown)
            self._await_counts()

    def _await_counts(self) -> None:
        """Counts are shown when their time has come, also when nobody prints any more."""
        if self._timer is None and self._deduplicator.counts():
            self._timer = threading.Timer(self._deduplicator.window_s, self._show_counts)
            self._timer.daemon = True
            self._timer.start()

    def _show_counts(self) -> None:
        with self._lock:
            self._timer = None
            _write(self._deduplicator.due(time.monotonic()))
            self._await_counts()


def _write(lines: Iterable[Line]) -> None:
    for output, is_error in ((sys.stdout, False), (sys.stderr, True)):
        text = "".join(f"{line.prefix}{line.text}\n" for line in lines if line.is_error == is_error)
        if text:
            output.write(text)
            output.flush()


def _is_drawn(line: str) -> bool:
    """Whether the line is the state of a progress bar, which is drawn instead of being printed."""
    if PROGRESS_BAR_TOKEN not in line:
        return False
    # By name, and only when there is such a line: the core knows no library.
    drawn: bool = importlib.import_module("shoal.experimental.tqdm_ray").process_line(line)
    return drawn
