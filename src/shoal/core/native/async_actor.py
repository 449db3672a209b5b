"""Async actors: an event loop for each concurrency group, whose idle moments look into the group's mailbox.

A loop's selector takes calls from the arena itself: no thread stands between a call and the loop while it is awake. Only when
it sleeps does a helper thread wait for the mailbox, and wake it through a descriptor. The default group's loop runs on the main
thread, where the constructor ran in it; a call that blocks its loop blocks its own group alone.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import threading
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core import native_threads
from shoal.core.actor_exit import ActorExit, ActorTerminated
from shoal.core.native import context, post_mortem
from shoal.core.native.actors import DEFAULT_GROUP
from shoal.core.native.execution import (
    LEFT_STATUS,
    fail,
    fail_cancelled,
    leave,
    left_error,
    retry_is_due,
    stop,
    task_error,
    yield_error,
)
from shoal.core.native.loop_waits import LoopWaits
from shoal.core.native.termination import finish_calls_on_sigterm

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from shoal._kernel import Task
    from shoal.core.descriptors import ClassSpec
    from shoal.core.native.calls import Call
    from shoal.core.native.execution import Handlers
    from shoal.core.options import ActorOptions

BATCH = 256
"""Calls taken in one round, so that a full mailbox does not keep the loop from its other events."""


def serve(construct: Callable[[], Handlers], queues: dict[str, int], spec: ClassSpec, options: ActorOptions) -> None:
    """Constructs the actor in the default group's loop and runs the loops until the mailboxes are closed or the actor exits."""
    limits = {DEFAULT_GROUP: options.concurrency(True), **spec.concurrency_groups}
    services = {group: Service(queue, limits[group]) for group, queue in queues.items()}
    main = services.pop(DEFAULT_GROUP)
    everything = [main, *services.values()]
    main.enter_thread()
    _kernel.set_parent_variable(context.parent)
    # Whoever calls exit_actor may be a task of the loop's that no call waits for.
    context.process.on_exit_requested = main.leave_soon
    handlers = main.loop.run_until_complete(_construct(construct))

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        for service in everything:
            service.cancel_flagged()

    signal.signal(signal.SIGINT, on_interrupt)
    finish_calls_on_sigterm(main.queue)
    for service in everything:
        service.open(handlers, everything)
    LoopWaits(everything).begin()
    for group, service in services.items():
        threading.Thread(target=service.run_in_thread, name=f"shoal-group-{group}", daemon=True).start()
    main.loop.run_forever()


async def _construct(construct: Callable[[], Handlers]) -> Handlers:
    return construct()


class Service:
    """One group's calls, between its mailbox and its loop. The process ends with it, unless a subclass says otherwise."""

    def __init__(self, queue: int, limit: int) -> None:
        self.queue = queue
        self.limit = limit
        self.loop = asyncio.SelectorEventLoop(_MailboxSelector(self))
        self.open_calls = 0
        self._running: dict[Task, asyncio.Task[Any]] = {}
        self._handlers: Handlers | None = None
        self._everything: list[Service] = []
        self._terminated = False
        self._targets: dict[int, tuple[Call, Callable[..., Any]]] = {}

    def open(self, handlers: Handlers, everything: list[Service]) -> None:
        """The actor is constructed: calls may be taken."""
        self._handlers, self._everything = handlers, everything

    def enter_thread(self) -> None:
        asyncio.set_event_loop(self.loop)

    def run_in_thread(self) -> None:
        _kernel.activate()
        self.enter_thread()
        if context.process.has_own_threads:
            native_threads.obey_variables()  # OpenMP knows a number for each thread
        self.loop.run_forever()

    def takes_calls(self) -> bool:
        """Whether a call may be taken: a full group leaves its calls where they are."""
        return self._handlers is not None and self.open_calls < self.limit

    def pump(self) -> bool:
        """Starts waiting calls. True when there were some."""
        found = False
        for _ in range(BATCH):
            if not self.takes_calls():
                break
            self.open_calls += 1  # before it is taken: who looks for a moment without calls must not see one here
            task = _kernel.take(self.queue)
            if task is None:
                self.open_calls -= 1
                break
            found = True
            self._running[task] = self.loop.create_task(self._execute(task))
        return found

    def executions(self) -> list[tuple[int, int]]:
        """Records and uids of the calls under way."""
        return [(task.record, task.uid) for task in list(self._running) if not task.done]

    def is_idle(self) -> bool:
        return not self.open_calls and (self._terminated or not _kernel.queue_length(self.queue))

    def is_closed(self) -> bool:
        return not self.open_calls and _kernel.queue_closed(self.queue)

    def cancel_flagged(self) -> None:
        """Some call was cancelled."""
        for task, running in list(self._running.items()):
            if not task.done and task.cancelled:
                self.loop.call_soon_threadsafe(running.cancel)

    async def _execute(self, task: Task) -> None:
        assert self._handlers is not None
        try:
            call, target = self._load(self._handlers, task)
            context.current.set(context.Execution(task.record, call, task.uid))
            context.parent.set(task.uid)
            args = task.args()
            if not isinstance(args, tuple):
                self._handlers.inherited(task, args)
                return
            result = target(*args[0], **args[1])
            if task.streaming:
                await self._stream(task, result, call)
                return
            if hasattr(result, "__await__") and not isinstance(result, _kernel.ObjectRef):
                result = await result
            if task.num_returns == 1 and not call.returns_dynamic:
                task.complete(result)
            else:
                self._handlers.finish_value(task, call, result)
        except asyncio.CancelledError:
            self.cancelled(task)
        except ActorTerminated as error:
            self._end(task, error)
        except ActorExit as error:
            self._end(task, error)
            self.leave()
        except BaseException as error:
            if not task.done:
                self._handlers.failed(task, error)
        finally:
            self.open_calls -= 1
            self._running.pop(task, None)
            self._leave_if_done()

    def _load(self, handlers: Handlers, task: Task) -> tuple[Call, Callable[..., Any]]:
        uid = task.function_uid
        known = self._targets.get(uid)
        if known is None:
            known = self._targets[uid] = handlers.loaded(task.function)
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
            if retry_is_due(task, call, error):
                raise
            post_mortem.look_at(error)
            yield_error(task, task_error(error, call.name))
            return
        task.complete(None)

    async def _room(self, task: Task) -> bool:
        if not task.has_room():
            return await self.loop.run_in_executor(None, task.wait_room)
        return True

    def cancelled(self, task: Task) -> None:
        """A running call was cancelled."""
        if not task.done:
            fail_cancelled(task)

    def _end(self, task: Task, error: ActorExit) -> None:
        """The actor is to end; a termination lets what runs finish first."""
        if not task.num_returns:
            task.complete(None)
        else:
            fail(task, left_error(error))
        self._terminated = True
        self.limit = 0

    def _leave_if_done(self) -> None:
        if any(service._terminated for service in self._everything) and all(service.is_idle() for service in self._everything):
            self.leave()

    def leave_soon(self) -> None:
        """The actor ends as soon as its loop is free. From any thread."""
        self.loop.call_soon_threadsafe(self.leave)

    def leave(self) -> None:
        """The actor ends by itself."""
        leave(LEFT_STATUS)

    def closed(self) -> None:
        """The mailbox is closed: the daemon has ended the actor and is about to kill this process."""
        stop(LEFT_STATUS)


class _MailboxSelector(selectors.DefaultSelector):
    """A selector that looks into the mailbox before and while it waits."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.register(self._wake_fd, selectors.EVENT_READ)
        self._gate = threading.Semaphore(0)
        self._armed = False
        self._ended = False
        self._watcher = threading.Thread(target=self._watch, name="shoal-mailbox", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """The mailbox must be closed: the watching thread may be waiting for it."""
        self._ended = True
        self._gate.release()
        self._watcher.join()
        os.close(self._wake_fd)
        super().close()

    def select(self, timeout: float | None = None) -> Any:
        service = self._service
        if service.pump() or (timeout is not None and timeout <= 0):
            return self._select(0)
        if service.is_closed():
            service.closed()
            return self._select(0)
        ready = self._select(0)
        if ready:
            return ready
        if service.takes_calls():
            if _kernel.spin_work([service.queue]):
                service.pump()
                return self._select(0)
            if not self._armed:
                self._armed = True
                self._gate.release()
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

    def _watch(self) -> None:
        while True:
            self._gate.acquire()
            if self._ended:
                return
            _kernel.wait_mail(self._service.queue)
            self._armed = False
            os.eventfd_write(self._wake_fd, 1)
