"""Defaults of compiled graphs, for this process."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import ClassVar


def _from_environment(name: str, default: int) -> int:
    return int(float(_text_of(name) or default))


def _text_of(name: str) -> str:
    return os.environ.get(f"RAY_CGRAPH_{name}", "")


@dataclass
class DAGContext:
    """What compiled graphs do unless they are told otherwise; each default can be set by ``RAY_CGRAPH_<name>``.

    - ``get_timeout``: seconds that reading a result waits when no timeout is given (10; -1: for ever).
    - ``teardown_timeout``: seconds that ``teardown`` waits for running calls (30).
    - ``max_inflight_executions`` (10) and ``max_buffered_results`` (1000): see ``experimental_compile``.
    - ``submit_timeout`` (10 s), ``buffer_size_bytes`` (1,000,000) and ``read_iteration_timeout`` (0.1 s) bound waits and
      buffers of Ray's channels. Here submitting never waits, values have blocks of their own size, and whoever waits is woken:
      there is nothing for them to bound.
    - ``overlap_gpu_communication`` (False): with True compiling raises NotImplementedError.
    """

    submit_timeout: int = field(default_factory=lambda: _from_environment("submit_timeout", 10))
    get_timeout: int = field(default_factory=lambda: _from_environment("get_timeout", 10))
    teardown_timeout: int = field(default_factory=lambda: _from_environment("teardown_timeout", 30))
    read_iteration_timeout: float = field(default_factory=lambda: float(_text_of("read_iteration_timeout_s") or 0.1))
    buffer_size_bytes: int = field(default_factory=lambda: _from_environment("buffer_size_bytes", 1_000_000))
    max_inflight_executions: int = field(default_factory=lambda: _from_environment("max_inflight_executions", 10))
    max_buffered_results: int = field(default_factory=lambda: _from_environment("max_buffered_results", 1000))
    overlap_gpu_communication: bool = field(
        default_factory=lambda: _text_of("overlap_gpu_communication").lower() in ("1", "true")
    )

    _current: ClassVar[DAGContext | None] = None
    _lock: ClassVar[threading.Lock] = threading.Lock()

    @staticmethod
    def get_current() -> DAGContext:
        """The context of this process; changing its fields changes the defaults of graphs compiled later."""
        with DAGContext._lock:
            if DAGContext._current is None:
                DAGContext._current = DAGContext()
            return DAGContext._current
