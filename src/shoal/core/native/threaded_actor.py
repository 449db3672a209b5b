"""Actors whose methods run on threads: one thread for an ordinary actor, a pool for max_concurrency > 1 and for each group."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core import native_threads
from shoal.core.actor_exit import ActorExit
from shoal.core.native import context
from shoal.core.native.actors import DEFAULT_GROUP
from shoal.core.native.execution import LEFT_STATUS, leave, left_error
from shoal.core.native.termination import finish_calls_on_sigterm, send_terminate
from shoal.core.serialization import dumps_error

if TYPE_CHECKING:
    from shoal.core.descriptors import ClassSpec
    from shoal.core.native.execution import Handlers
    from shoal.core.options import ActorOptions


def serve(handlers: Handlers, queues: dict[str, int], spec: ClassSpec, options: ActorOptions) -> None:
    """Serves every mailbox until it is closed; the default group on this thread."""
    limits = {DEFAULT_GROUP: options.concurrency(False), **spec.concurrency_groups}
    context.process.retire_thread = _Retirement({queue: limits[group] for group, queue in queues.items()})
    threads = []
    all_here = threading.Event()  # calls that wait already are shared out among all threads, not taken by the first
    for group, queue in queues.items():
        extra = limits[group] - 1 if group == DEFAULT_GROUP else limits[group]
        threads += [
            threading.Thread(target=_serve_one, name="shoal-calls", args=(queue, handlers, all_here), daemon=True)
            for _ in range(extra)
        ]
    for thread in threads:
        thread.start()
    all_here.set()
    if threads:
        finish_calls_on_sigterm(queues[DEFAULT_GROUP])
    leaving = _Leaving(list(queues.values()))
    if threads:
        context.process.leave_threads = leaving
    context.process.on_exit_requested = leaving.begin
    if context.process.should_exit:  # the constructor has called exit_actor(), and caught what that raises
        leaving.begin()
    _kernel.run(queues[DEFAULT_GROUP], handlers, True)
    for thread in threads:
        thread.join()
    if leaving.begun:
        leave(LEFT_STATUS)


class _Leaving:
    """How an actor leaves by itself while others of its threads run calls: no more are taken, and those finish."""

    def __init__(self, queues: list[int]) -> None:
        self._queues = queues
        self.begun = False

    def begin(self) -> None:
        """Somebody has called ``exit_actor()``. The method may catch what that raises: the actor ends after it all the same."""
        self(ActorExit("exit_actor() is called."))

    def __call__(self, error: BaseException) -> bool:
        self.begun = True
        report = dumps_error(left_error(error))
        for queue in self._queues:
            _kernel.close_queue(queue, report)
        return True


class _Retirement:
    """How an actor ends without cutting calls short: each thread that meets the termination hands it on to another one, by the
    mailbox, and takes no more calls. When the last one meets it, all calls before it are done."""

    def __init__(self, threads: dict[int, int]) -> None:
        self._threads = dict(threads)
        self._lock = threading.Lock()

    def __call__(self, queue: int) -> None:
        """Returns in the last thread only."""
        with self._lock:
            self._threads[queue] -= 1
            left = [each for each, count in self._threads.items() if count]
            if not left:
                return
            send_terminate(queue if queue in left else left[0])
        _kernel.deactivate()
        threading.Event().wait()


def _serve_one(queue: int, handlers: Handlers, all_here: threading.Event) -> None:
    if context.process.has_own_threads:
        native_threads.obey_variables()  # OpenMP knows a number for each thread
    all_here.wait()
    _kernel.activate()
    try:
        _kernel.run(queue, handlers, True)
    finally:
        _kernel.deactivate()
