"""Callbacks on sealed records. While there are any, one thread of this process sleeps in the kernel for all of them."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core import session
from shoal.exceptions import RaySystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shoal._kernel import ObjectRef

logger = logging.getLogger("shoal")

STEP_S = 1.0
LINGER_S = 5.0
LOOK_S = 0.5

_lock = threading.Lock()
_outstanding = 0
_thread: threading.Thread | None = None
_observers: list[Callable[[], None]] = []


def on_sealed(ref: ObjectRef, callback: Callable[[], None]) -> None:
    """Calls ``callback`` once, on the watching thread, when ``ref`` is sealed; at once, on this thread, when it is already."""
    _watch(ref, callback, items=False)


def on_item(ref: ObjectRef, callback: Callable[[], None]) -> None:
    """The same for a stream: also when its next item is there."""
    _watch(ref, callback, items=True)


def observe(callback: Callable[[], None]) -> None:
    """Calls ``callback`` on the watching thread about twice a second for as long as anything is waited for, until the session
    ends."""
    _observers.append(callback)


def _watch(ref: ObjectRef, callback: Callable[[], None], *, items: bool) -> None:
    global _outstanding, _thread
    with _lock:
        _outstanding += 1
        waits = _kernel.watch(ref, callback, items)
        if not waits:
            _outstanding -= 1
        elif _thread is None:
            _thread = threading.Thread(target=_serve, name="shoal-watcher", daemon=True)
            _thread.start()
    if not waits:
        callback()


def _serve() -> None:
    global _outstanding, _thread
    idle_s = 0.0
    looked_s = time.monotonic()
    while True:
        step_s = LOOK_S if _observers else STEP_S
        try:
            due = _kernel.watch_step(step_s)
        except (RuntimeError, RaySystemError):  # the arena is detached: the session has ended, and its callbacks with it
            due = None
        with _lock:
            mine = _thread is threading.current_thread()
            if due:
                _outstanding -= len(due)
            idle_s = 0.0 if due or _outstanding else idle_s + step_s
            # A thread of an earlier session may have slept through the end of its own.
            ends = due is None or not mine or idle_s >= LINGER_S
            if ends and mine:
                _thread = None
                _outstanding = 0
        _call(due or ())
        if ends:
            return
        now_s = time.monotonic()
        if _observers and _outstanding and now_s - looked_s >= LOOK_S * 0.9:
            looked_s = now_s
            _call(_observers)


def _call(callbacks: Iterable[Callable[[], None]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except Exception:
            logger.exception("a callback on a sealed object failed")


def _forget_thread() -> None:
    """A later session starts a thread of its own; this one ends when it finds the arena gone. In a fork there is none."""
    global _lock, _outstanding, _thread
    _lock = threading.Lock()
    _outstanding = 0
    _thread = None
    _observers.clear()


session.at_session_end(_forget_thread)
