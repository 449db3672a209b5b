"""What workers print, shown by the driver with a prefix that says who printed it."""

from __future__ import annotations

import os
import sys
from typing import Any

from shoal.core.native import messages

CYAN = "\x1b[36m"
RESET = "\x1b[0m"


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
            print(f"shoal: {notification.message}", file=sys.stderr, flush=True)

    def _print(self, lines: messages.LogLines) -> None:
        output = sys.stderr if lines.is_error else sys.stdout
        prefix = "" if self._plain else f"{self._before}({lines.name or 'worker'} pid={lines.pid}){self._after} "
        output.write("".join(f"{prefix}{line}\n" for line in lines.lines))
        output.flush()
