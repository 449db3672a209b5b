"""Async actors: an event loop whose idle moments look into the mailboxes.

The loop's selector takes calls from the arena itself: no thread stands between a call and the loop while it is awake. Only when it
sleeps does a helper thread wait for the mailboxes, and wake it through a descriptor.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading
from typing import TYPE_CHECKING, Any

from shoal import _kernel, exceptions
from shoal.core.actor_exit import ActorExit
from shoal.core.ids import TaskID
from shoal.core.native import context
from shoal.core.native.actors import DEFAULT_GROUP
from shoal.core.native.execution import fail, leave, task_error, yield_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from shoal._kernel import Task
    from shoal.core.descriptors import ClassSpec
    from shoal.core.native.execution import Handlers
    from shoal.core.native.exports import Call
    from shoal.core.options import ActorOptions

BATCH = 256
"""Calls taken in one round, so that a full mailbox does not keep the loop from its other events."""


def serve(instance: Any, queues: dict[str, int], spec: ClassSpec, options: ActorOptions, handlers: Handlers) -> None:
    """Runs the loop until the mailboxes are closed or the actor exits."""
    limits = {DEFAULT_GROUP: options.concurrency(True), **spec.concurrency_groups}
    service = _Service({queue: limits[group] for group, queue in queues.items()}, handlers)
    loop = asyncio.SelectorEventLoop(_MailboxSelector(service))
    service.loop = loop
    asyncio.set_event_loop(loop)
    signal.signal(signal.SIGINT, service.on_interrupt)
    try:
        loop.run_forever()
    finally:
        service.stop()


class _Service:
    """Calls between the mailboxes and the loop."""

    def __init__(self, limits: dict[int, int], handlers: Handlers) -> None:
        self.limits = limits
        self.handlers = handlers
        self.loop: Any = None
        self.running: dict[Task, asyncio.Task[Any]] = {}
        self._open = dict.fromkeys(limits, 0)
        self.exiting: BaseException | None = None
        self._targets: dict[int, tuple[Call, Callable[..., Any]]] = {}

    def pump(self) -> bool:
        """Starts waiting calls. True when there were some."""
        found = False
        for queue, limit in self.limits.items():
            for _ in range(BATCH):
                if self._open[queue] >= limit:
                    break
                task = _kernel.take(queue)
                if task is None:
                    break
                found = True
                self._open[queue] += 1
                self.running[task] = self.loop.create_task(self._execute(task, queue))
        return found

    def open_queues(self) -> list[int]:
        """Mailboxes that calls may be taken from: a full group leaves its calls where they are."""
        return [queue for queue, limit in self.limits.items() if self._open[queue] < limit]

    def closed(self) -> bool:
        return not self.running and all(_kernel.queue_closed(queue) for queue in self.limits)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        """SIGINT: some call was cancelled."""
        for task, running in list(self.running.items()):
            if not task.done and task.cancelled:
                self.loop.call_soon_threadsafe(running.cancel)

    def stop(self) -> None:
        self.loop.close()

    async def _execute(self, task: Task, queue: int) -> None:
        try:
            call, target = self._load(task)
            context.current.set(context.Execution(task.record, call))
            args = task.args()
            if not isinstance(args, tuple):
                self.handlers.inherited(task, args)
                return
            result = target(*args[0], **args[1])
            if task.streaming:
                await self._stream(task, result, call)
                return
            if hasattr(result, "__await__"):
                result = await result
            if task.num_returns == 1 and not call.returns_dynamic:
                task.complete(result)
            else:
                self.handlers.finish_value(task, call, result)
        except asyncio.CancelledError:
            self._cancelled(task)
        except ActorExit as error:
            self._exit(task, error)
        except BaseException as error:
            if not task.done:
                self.handlers.failed(task, error)
        finally:
            self._open[queue] -= 1
            self.running.pop(task, None)
            if self.exiting is not None and not self.running:
                self.loop.stop()

    def _load(self, task: Task) -> tuple[Call, Callable[..., Any]]:
        uid = task.function_uid
        known = self._targets.get(uid)
        if known is None:
            known = self._targets[uid] = self.handlers.loaded(task.function)
        return known

    async def _stream(self, task: Task, result: Any, call: Call) -> None:
        try:
            if hasattr(result, "__aiter__"):
                async for item in result:
                    if not await self._room(task):
                        break
                    task.yield_item(item)
            else:
                for item in result:
                    if not await self._room(task):
                        break
                    task.yield_item(item)
                    await asyncio.sleep(0)
        except (asyncio.CancelledError, ActorExit, SystemExit):
            raise
        except BaseException as error:
            yield_error(task, task_error(error, call.name))
            return
        task.complete(None)

    async def _room(self, task: Task) -> bool:
        if not task.has_room():
            return await self.loop.run_in_executor(None, task.wait_room)  # type: ignore[no-any-return]
        return True

    def _cancelled(self, task: Task) -> None:
        if not task.done:
            fail(task, exceptions.TaskCancelledError(TaskID(task.ref.binary()[:24])))

    def _exit(self, task: Task, error: ActorExit) -> None:
        self.exiting = error
        reason = str(error) or "exit_actor() is called."
        if not task.num_returns:
            task.complete(None)
        else:
            fail(task, exceptions.ActorDiedError(f"The actor exited: {reason} It is not restarted."))
        self.limits = dict.fromkeys(self.limits, 0)


class _MailboxSelector(selectors.DefaultSelector):
    """A selector that looks into the mailboxes before and while it waits."""

    def __init__(self, service: _Service) -> None:
        super().__init__()
        self._service = service
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.register(self._wake_fd, selectors.EVENT_READ)
        self._gates = {queue: threading.Semaphore(0) for queue in service.limits}
        self._armed = dict.fromkeys(service.limits, False)
        for queue in service.limits:
            threading.Thread(target=self._watch, args=(queue,), name="shoal-mailbox", daemon=True).start()

    def select(self, timeout: float | None = None) -> Any:
        service = self._service
        if service.pump() or (timeout is not None and timeout <= 0):
            return self._select(0)
        if service.exiting is None and service.closed():
            leave(0)
        ready = self._select(0)
        if ready:
            return ready
        queues = service.open_queues()
        if queues and _kernel.spin_work(queues):
            service.pump()
            return self._select(0)
        for queue in queues:
            if not self._armed[queue]:
                self._armed[queue] = True
                self._gates[queue].release()
        _kernel.deactivate()
        try:
            ready = self._select(timeout)
        finally:
            _kernel.activate()
        service.pump()
        return ready

    def _select(self, timeout: float | None) -> Any:
        """What is ready, without the descriptor that only wakes."""
        ready = super().select(timeout)
        if not ready:
            return ready
        others = [pair for pair in ready if pair[0].fd != self._wake_fd]
        if len(others) != len(ready):
            os.eventfd_read(self._wake_fd)
        return others

    def _watch(self, queue: int) -> None:
        while True:
            self._gates[queue].acquire()
            _kernel.wait_mail(queue)
            self._armed[queue] = False
            os.eventfd_write(self._wake_fd, 1)
