"""Telling the daemon what the event loops of an async actor wait for, and ending an ``await`` that can never end.

A loop goes on when one of the references that are awaited on it is ready, whichever of its coroutines that is for: what they
wait for among each other (locks, events, gathered tasks) need not be known. What else may make it go on is said with it: a call
that it could still take, a timer, a socket, a thread."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from shoal import _kernel, exceptions
from shoal.core import session, watching
from shoal.core.generators import Arrival
from shoal.core.native import context
from shoal.core.native.control import RequestFailed
from shoal.core.native.engine import NativeEngine
from shoal.core.native.long_waits import is_alone
from shoal.core.native.messages import StillWaiting
from shoal.core.object_ref import Delivery

if TYPE_CHECKING:
    from shoal.core.native.async_actor import Service

TOLD_AT_MOST = 256
OWN_DESCRIPTORS = 2
"""Of a loop's selector: what wakes it for calls, and what wakes it for other threads."""


class _Seen(NamedTuple):
    """What a loop waited for when it was looked at; ``looks``: how often that was so already."""

    futures: dict[asyncio.Future[Any], tuple[int, int]]
    executions: list[tuple[int, int]]
    message: StillWaiting
    looks: int


class LoopWaits:
    """Looks at the loops of all ``services`` about twice a second while any of them awaits a reference."""

    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._seen: dict[Service, _Seen] = {}

    def begin(self) -> None:
        watching.observe(self._look)
        context.process.stopped_loop = self._stopped_loop

    def _stopped_loop(self) -> tuple[int, list[tuple[int, int]]] | None:
        running = asyncio._get_running_loop()
        for service in self._services:
            if service.loop is running:
                return service.queue, service.executions()
        return None

    def _look(self) -> None:
        """On the watching thread: tells what was seen the last time, and has the loops looked at again, each by itself."""
        watched = _kernel.watched()
        for service in self._services:
            seen = self._seen.get(service)
            if seen is not None and (seen.looks in (1, 2) or seen.looks % 4 == 0):
                self._tell(service, seen)
            futures = {
                callback.future: (ref.record, ref.uid)
                for ref, callbacks in watched
                for callback in callbacks
                if isinstance(callback, (Delivery, Arrival)) and callback.loop is service.loop
            }
            is_foreign = any(
                not isinstance(callback, (Delivery, Arrival)) for _, callbacks in watched for callback in callbacks
            )
            with contextlib.suppress(RuntimeError):  # the loop was closed
                # Twice: the first time, the loop has yet to take in what woke it for this.
                service.loop.call_soon_threadsafe(service.loop.call_soon, self._see, service, futures, is_foreign)

    def _see(self, service: Service, futures: dict[asyncio.Future[Any], tuple[int, int]], is_foreign: bool) -> None:
        """On the loop's own thread, while none of its coroutines runs."""
        before = self._seen.pop(service, None)
        pending = {future: named for future, named in futures.items() if not future.done()}
        executions = service.executions()
        if not 0 < len(pending) <= TOLD_AT_MOST or _is_busy(service.loop):
            return
        is_same = before is not None and before.futures.keys() == pending.keys() and before.executions == executions
        message = StillWaiting(
            0,
            0,
            list(dict.fromkeys(pending.values())),
            1,
            service.queue,
            executions,
            takes_calls=service.takes_calls(),
            is_alone=is_alone(),
            may_go_on=is_foreign or not is_alone() or _is_woken_otherwise(service.loop),
        )
        looks = before.looks + 1 if is_same and before is not None else 0
        self._seen[service] = _Seen(pending, executions, message, looks)

    def _tell(self, service: Service, seen: _Seen) -> None:
        engine = session.require_engine()
        assert isinstance(engine, NativeEngine), "async actors have event loops of their own in native sessions only"
        try:
            engine.control.request(seen.message)
        except RequestFailed as failure:
            never = int(failure.facts["record"])
            futures = [future for future, (record, _) in seen.futures.items() if record == never]
            service.loop.call_soon_threadsafe(_fail, futures, str(failure))


def _fail(futures: list[asyncio.Future[Any]], text: str) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(exceptions.DeadlockError(text))


def _is_busy(loop: asyncio.AbstractEventLoop) -> bool:
    return bool(getattr(loop, "_ready", True))


def _is_woken_otherwise(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether the loop has timers or descriptors besides its own. A loop that does not show them may have some."""
    timers = getattr(loop, "_scheduled", None)
    selector = getattr(loop, "_selector", None)
    if timers is None or selector is None:
        return True
    return any(not timer.cancelled() for timer in timers) or len(selector.get_map()) > OWN_DESCRIPTORS
