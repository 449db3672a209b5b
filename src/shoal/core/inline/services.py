"""Threads that serve an actor in inline mode: one for each event loop, or for each call that may run at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import context
from shoal.core.native.actors import DEFAULT_GROUP
from shoal.core.native.async_actor import Service
from shoal.core.native.execution import fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal._kernel import Task
    from shoal.core.inline.actors import InlineActor
    from shoal.core.inline.dispatcher import Dispatcher

ENDING_TIMEOUT_S = 1.0


class _Threads:
    """Counts the threads of an actor. The last one gives back the record, whose end would free the mailboxes they look at."""

    def __init__(self, actor: InlineActor, dispatcher: Dispatcher) -> None:
        self.actor = actor
        self.dispatcher = dispatcher
        self._alive = 0
        self._kept = False
        self._epoch = _kernel.arena_epoch()

    def keep_record(self) -> None:
        """The actor ends: its mailboxes stay until the threads have left them."""
        self._kept = self._alive > 0 and _kernel.keep(self.actor.request.record)

    def launch(self, body: Callable[[], None], name: str) -> None:
        self._alive += 1

        def run() -> None:
            context.inline_place.set(self.actor.place)
            _kernel.activate()
            try:
                body()
            finally:
                self._leave()

        self.dispatcher.start_thread(run, f"shoal-{self.actor.spec.name}{'-' if name else ''}{name}")

    def _leave(self) -> None:
        if not _kernel.attached() or _kernel.arena_epoch() != self._epoch:
            return  # the session did not wait for this thread any longer
        _kernel.deactivate()
        self._alive -= 1
        if not self._alive and self._kept:
            self._kept = False
            _kernel.release(self.actor.request.record)


class ThreadService(_Threads):
    """An actor with several threads, or with groups that have theirs."""

    def start(self) -> None:
        """Constructs the actor on this thread."""
        actor = self.actor
        if not actor.construct():
            return
        for group, queue in actor.queues.items():
            _kernel.serve_mailbox(queue)
            for _ in range(actor.limits[group]):
                self.launch(lambda queue=queue: _kernel.run(queue, actor.handlers, True), group)  # type: ignore[misc]

    def run(self, body: Callable[[], None]) -> None:
        body()

    def forget_targets(self) -> None:
        """They are kept by the handlers only."""

    def cancel_flagged(self) -> None:
        """A thread can't be interrupted: its call asks ``is_canceled()``."""

    def stop(self) -> None:
        """The closed mailboxes end the threads."""


class LoopService(_Threads):
    """An async actor: an event loop for each concurrency group, each on its thread."""

    def __init__(self, actor: InlineActor, dispatcher: Dispatcher) -> None:
        super().__init__(actor, dispatcher)
        self._loops: list[_Loop] = []

    def start(self) -> None:
        """Constructs the actor in the default group's loop; does not wait for that."""
        actor = self.actor
        self._loops = [_Loop(queue, actor.limits[group], actor, self.dispatcher) for group, queue in actor.queues.items()]
        names = list(actor.queues)
        self._loops.sort(key=lambda loop: loop.queue != actor.queues[DEFAULT_GROUP])
        main, *others = self._loops
        self.launch(lambda: self._serve(main, dict(zip(names[1:], others, strict=True))), "")

    def run(self, body: Callable[[], None]) -> None:
        self._loops[0].loop.call_soon_threadsafe(body)

    def forget_targets(self) -> None:
        for loop in self._loops:
            loop.forget_targets()

    def cancel_flagged(self) -> None:
        for loop in self._loops:
            loop.cancel_flagged()

    def stop(self) -> None:
        for loop in self._loops:
            loop.cancel_all()

    def _serve(self, main: _Loop, others: dict[str, _Loop]) -> None:
        with main.entered():
            if not main.loop.run_until_complete(_in_loop(self.actor.construct)):
                for loop in others.values():
                    loop.loop.close()
                return
            for loop in self._loops:
                loop.open(self.actor.handlers, list(self._loops))
            for name, loop in others.items():
                self.launch(loop.serve, name)
            main.loop.run_forever()


class _Loop(Service):
    """One group's loop. Where a worker's process would end, only the loop does."""

    def __init__(self, queue: int, limit: int, actor: InlineActor, dispatcher: Dispatcher) -> None:
        super().__init__(queue, limit)
        self._actor = actor
        self._dispatcher = dispatcher
        self._is_ending = False

    def serve(self) -> None:
        with self.entered():
            self.loop.run_forever()

    @contextlib.contextmanager
    def entered(self) -> Any:
        """The block runs the loop on this thread; after it, what is left in the loop is cancelled and the loop is closed."""
        self.enter_thread()
        try:
            yield
        finally:
            self._is_ending = True
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=ENDING_TIMEOUT_S))
            asyncio.set_event_loop(None)
            self.loop.close()

    def leave(self) -> None:
        self._actor.left()

    def closed(self) -> None:
        if not self._is_ending:
            self.loop.stop()

    def cancelled(self, task: Task) -> None:
        if self._actor.death is not None and not task.done and not task.cancelled:
            fail(task, self._actor.death)
        else:
            super().cancelled(task)

    def forget_targets(self) -> None:
        self._targets.clear()

    def cancel_all(self) -> None:
        """The actor has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self.loop.call_soon_threadsafe(self._cancel_running)

    def _cancel_running(self) -> None:
        current = asyncio.current_task(self.loop)
        for running in list(self._running.values()):
            if running is not current:
                running.cancel()

    def _leave_if_done(self) -> None:
        super()._leave_if_done()
        self._dispatcher.run_elsewhere()


async def _in_loop(body: Callable[[], bool]) -> bool:
    return body()
