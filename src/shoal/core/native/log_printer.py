"""What workers print, shown by the driver with a prefix that says who printed it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from shoal.core.native import messages

CYAN = "\x1b[36m"
RESET = "\x1b[0m"
PROGRESS_BAR_TOKEN = "__shoal_progress_bar__:"
"""Starts the lines in which tasks report their progress bars, see ``shoal.experimental.tqdm_ray``."""


class LogPrinter:
    """Writes log lines to this process's output, those of standard error to its standard error."""

    def __init__(self) -> None:
        colored = os.environ.get("RAY_COLOR_PREFIX", "1") == "1" and sys.stderr.isatty()
        self._before, self._after = (CYAN, RESET) if colored else ("", "")
        self._plain = os.environ.get("RAY_DISABLE_WORKER_LOG_PREFIX", "0") == "1"

    def __call__(self, notification: Any) -> None:
        if isinstance(notification, messages.LogLines):
            self._print(notification)
        elif isinstance(notification, messages.ErrorEvent):
            sys.stderr.write(f"shoal: {notification.message}\n")  # print would write the end of the line on its own
            sys.stderr.flush()

    def _print(self, lines: messages.LogLines) -> None:
        output = sys.stderr if lines.is_error else sys.stdout
        prefix = "" if self._plain else f"{self._before}({lines.name or 'worker'} pid={lines.pid}){self._after} "
        output.write("".join(f"{prefix}{line}\n" for line in lines.lines if not _is_drawn(line)))
        output.flush()


def _is_drawn(line: str) -> bool:
    """Whether the line is the state of a progress bar, which is drawn instead of being printed."""
    if PROGRESS_BAR_TOKEN not in line:
        return False
    # By name, and only when there is such a line: the core knows no library.
    drawn: bool = importlib.import_module("shoal.experimental.tqdm_ray").process_line(line)
    return drawn
