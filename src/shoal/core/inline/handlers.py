"""Executing tasks and calls in the driver's process: the workers' handlers, but nothing they do ends the process."""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import TYPE_CHECKING, Any

from shoal import _kernel, exceptions
from shoal.core.native import context
from shoal.core.native.calls import UNTOLD
from shoal.core.native.execution import Handlers, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shoal._kernel import ObjectRef, Task
    from shoal.core.actor_exit import ActorExit
    from shoal.core.inline.dispatcher import Dispatcher
    from shoal.core.inline.node import Place
    from shoal.core.native.calls import Call

_thread = threading.local()


@contextlib.contextmanager
def running(place: Place, task: Task | None, call: Call | None) -> Iterator[None]:
    """In the block this thread is at ``place``, executing ``task``. What it executed before waits for that."""
    before = getattr(_thread, "task", None)
    _thread.task = task
    _kernel.set_current(task)
    place_token = context.inline_place.set(place)
    execution = context.Execution(task.record, call) if task is not None and call is not None else None
    token = context.current.set(execution)
    try:
        yield
    finally:
        context.current.reset(token)
        context.inline_place.reset(place_token)
        _thread.task = before
        if _kernel.attached():
            _kernel.set_current(before)


class InlineHandlers(Handlers):
    """Of the tasks; ``actors`` has those of actors."""

    def __init__(self, resolve: Callable[[Call], Callable[..., Any]], place: Place, dispatcher: Dispatcher) -> None:
        super().__init__(resolve)
        self.place = place
        self._dispatcher = dispatcher

    def at(self, place: Place) -> InlineHandlers:
        """The same, with what is loaded already, at another place."""
        copied = copy.copy(self)
        copied.place = place
        return copied

    def load(self, function: ObjectRef) -> None:
        """Every call goes through ``execute``."""

    def execute(self, task: Task) -> None:
        with running(self.place, task, self.call_of(task.function)):
            super().execute(task)
        self._dispatcher.run_elsewhere()

    def failed(self, task: Task, error: BaseException, own_references: int = 0) -> None:
        """Ctrl-C is meant for the driver, which is here: it goes on after the task has failed."""
        asked_for = not task.done and task.cancelled
        super().failed(task, error, own_references)
        if isinstance(error, KeyboardInterrupt) and not asked_for:
            raise error

    def count_call(self, uid: int, task: Task, result: ObjectRef) -> None:
        """``max_calls`` ends workers, and there are none."""

    def leave_actor(self, task: Task, error: ActorExit) -> None:
        fail(task, exceptions.RaySystemError(f"the task {task.name} raised {error!r} outside of an actor"))

    def exit_requested(self, task: Task, error: SystemExit) -> None:
        fail(
            task,
            exceptions.WorkerCrashedError(
                f"The worker died: the task {task.name.removeprefix(UNTOLD)} called sys.exit({error.code!r})."
            ),
        )
