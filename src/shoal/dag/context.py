"""Defaults of compiled graphs, for this process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import ClassVar


def _from_environment(name: str, default: int) -> int:
    return int(os.environ.get(f"RAY_CGRAPH_{name}", default))


@dataclass
class DAGContext:
    """What compiled graphs do unless they are told otherwise; each default can be set by ``RAY_CGRAPH_<name>``.

    - ``get_timeout``: seconds that reading a result waits when no timeout is given (10; -1: for ever).
    - ``teardown_timeout``: seconds that ``teardown`` waits for running calls (30).
    - ``max_inflight_executions`` (10) and ``max_buffered_results`` (1000): see ``experimental_compile``.
    """

    get_timeout: int = field(default_factory=lambda: _from_environment("get_timeout", 10))
    teardown_timeout: int = field(default_factory=lambda: _from_environment("teardown_timeout", 30))
    max_inflight_executions: int = field(default_factory=lambda: _from_environment("max_inflight_executions", 10))
    max_buffered_results: int = field(default_factory=lambda: _from_environment("max_buffered_results", 1000))

    _current: ClassVar[DAGContext | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @staticmethod
    def get_current() -> DAGContext:
        """The context of this process; changing its fields changes the defaults of graphs compiled later."""
        with DAGContext._lock:
            if DAGContext._current is None:
                DAGContext._current = DAGContext()
            return DAGContext._current
