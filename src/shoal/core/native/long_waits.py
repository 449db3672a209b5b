"""Telling the daemon of a blocking wait that has no time limit, and raising DeadlockError when it can never end."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading

from shoal import _kernel, exceptions
from shoal.core import session
from shoal.core.native import context
from shoal.core.native.control import RequestFailed
from shoal.core.native.engine import NativeEngine
from shoal.core.native.messages import StillWaiting

logger = logging.getLogger("shoal")

OWN_THREADS = "shoal-"
"""Names of threads that do nothing by themselves begin so."""


def tell(awaited: list[tuple[int, int]], need: int) -> None:
    """This thread waits for ``need`` of the records, each with its uid. Raises DeadlockError when that can never end."""
    engine = session.require_engine()
    message = _told(awaited, need)
    if message is None or not isinstance(engine, NativeEngine):
        return
    if not context.process.is_worker:
        with contextlib.suppress(
            exceptions.RaySystemError, exceptions.LocalRayletDiedError
        ):  # the session is ending, of which the wait itself will tell
            engine.control.send(message)
        return
    try:
        engine.control.request(message)
    except RequestFailed as failure:
        raise exceptions.DeadlockError(str(failure)) from None


def is_alone() -> bool:
    """Whether all threads of this process are ours, or the main thread."""
    main = threading.main_thread()
    return all(thread is main or thread.name.startswith(OWN_THREADS) for thread in threading.enumerate())


@functools.cache
def _warn_of_stopped_loop() -> None:
    """Once in a process."""
    logger.warning(
        "A method of an async actor waits in get() or wait(), which stops its event loop: no other call goes on meanwhile. "
        "Await the reference instead, or asyncio.gather() of several."
    )


def _told(awaited: list[tuple[int, int]], need: int) -> StillWaiting | None:
    """Who waits; None: a thread of which nobody is told, because whatever it belongs to may go on meanwhile."""
    process, record = context.process, _kernel.current_record()
    on_main = threading.current_thread() is threading.main_thread()
    if not record and process.constructing and on_main:
        record = process.constructing
    if record:
        return StillWaiting(record, _kernel.record_uid(record), awaited, need, is_alone=is_alone())
    if not process.is_worker:
        return StillWaiting(0, 0, awaited, need, is_alone=is_alone()) if on_main else None
    stopped = process.stopped_loop()
    if stopped is None:
        return None
    _warn_of_stopped_loop()
    mailbox, executions = stopped
    return StillWaiting(0, 0, awaited, need, mailbox, executions, blocks_loop=True, is_alone=is_alone())
