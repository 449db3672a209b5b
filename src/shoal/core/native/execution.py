"""Executing tasks and calls in a worker: what the kernel's loop hands over because it is not a plain call with one result."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from shoal import _kernel, exceptions
from shoal.core import native_threads
from shoal.core.actor_exit import ActorExit, ActorTerminated
from shoal.core.generators import DynamicObjectRefGenerator
from shoal.core.ids import TaskID
from shoal.core.native import context, post_mortem, unread_errors
from shoal.core.native.calls import UNTOLD
from shoal.core.serialization import dumps_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from shoal._kernel import ObjectRef, Task
    from shoal.core.native.calls import Call

LEFT_STATUS = 76
"""Exit status of a process that leaves on purpose. Not 0: user code that ends its process with it leaves its work undone."""
RECYCLED_STATUS = 77
"""Exit status of a worker that ends because its function's ``max_calls`` is reached, or its task called sys.exit."""
WORK_KINDS = (1, 2, 4, 6)
"""Of records: tasks and calls, also those that stream."""
OWN_WORK_MAX = 1 << 20
FOREVER_S = -1.0
PROMPT_RETRIES = 2
RETRY_PAUSE_MIN_S, RETRY_PAUSE_MAX_S = 0.1, 0.8
CHAINED_TEXT_MAX = 64 * 1024
"""Characters of traceback: in a chain of many tasks the text would grow with the square of its length."""


class Handlers:
    """What the kernel's loop calls back. ``resolve`` gives the callable for a call record's content."""

    def __init__(self, resolve: Callable[[Call], Callable[..., Any]]) -> None:
        self._resolve = resolve
        self._loaded: dict[int, Callable[..., Any]] = {}
        self._calls_made: dict[int, int] = {}

    def load(self, function: ObjectRef) -> Callable[..., Any] | None:
        """The callable when the kernel may call it directly; None sends each call through ``execute``."""
        call = self.call_of(function)
        target = self._target(function.uid, call)
        plain = call.max_calls == 0 and not call.returns_dynamic and call.threads == 1 and not _yields(target)
        return target if plain else None

    def execute(self, task: Task) -> None:
        """Runs a task that needs more than a plain call."""
        function, result_ref = task.function, task.ref
        try:
            call, target = self.loaded(function)
            args = task.args()
            if not isinstance(args, tuple):
                self.inherited(task, args, own_references=1)
                return
            with thread_variables(call.threads):
                result = target(*args[0], **args[1])
                if task.streaming:
                    stream(task, result, call)
                elif task.cancelled and is_call(task):
                    fail_cancelled(task)
                else:
                    self.finish_value(task, call, result)
        except BaseException as error:
            self.failed(task, error, own_references=1)
        self.count_call(function.uid, task, result_ref)

    def failed(self, task: Task, error: BaseException, own_references: int = 0) -> None:
        """An execution raised, or its result could not be stored. ``own_references``: to the result, of who calls this."""
        if task.done:
            raise error
        call = context.calls_by_function.get(task.function_uid)
        if isinstance(error, ActorExit):
            self.leave_actor(task, error)
            return
        if isinstance(error, SystemExit):
            self.exit_requested(task, error)
            return
        if isinstance(error, KeyboardInterrupt) or (task.cancelled and isinstance(error, GeneratorExit)):
            fail_cancelled(task)
            return
        post_mortem.look_at(error)
        if call is not None and retry_is_due(task, call, error):
            retry(task)
            return
        final = task_error(error, call.name if call else task.name)
        unread_errors.tell(task, final, own_references)
        fail(task, final)

    def inherited(self, task: Task, failed: ObjectRef, own_references: int = 0) -> None:
        """An argument holds an error. A task's error gets this one's name on top, so that it tells the whole way it came; any
        other, and one that has come too long a way, is passed on as it is."""
        error = _kernel.read_record(failed.record)
        call = context.calls_by_function.get(task.function_uid)
        unread_errors.tell(task, error, own_references)
        if isinstance(error, exceptions.RayTaskError) and len(error.traceback_str) < CHAINED_TEXT_MAX:
            fail(task, task_error(error, call.name if call else task.name))
        else:
            task.inherit(failed)

    def call_of(self, function: ObjectRef) -> Call:
        """The call record's content."""
        call = context.calls_by_function.get(function.uid)
        if call is None:
            call = context.calls_by_function[function.uid] = _kernel.get(function)
        return call

    def forget_targets(self) -> None:
        """They are resolved anew: the actor's instance is another one."""
        self._loaded.clear()

    def _target(self, uid: int, call: Call) -> Callable[..., Any]:
        target = self._loaded.get(uid)
        if target is None:
            target = self._loaded[uid] = self._resolve(call)
        return target

    def loaded(self, function: ObjectRef) -> tuple[Call, Callable[..., Any]]:
        """The call record's content and what it calls."""
        call = self.call_of(function)
        return call, self._target(function.uid, call)

    def finish_value(self, task: Task, call: Call, result: Any) -> None:
        """Completes a task with what its function returned."""
        if call.returns_dynamic:
            task.complete(DynamicObjectRefGenerator(_items(task, call, result)))
        elif inspect.isgenerator(result) and task.num_returns:
            self._finish_generator(task, call, result)
        elif task.num_returns > 1:
            task.complete_many(several(result, task.num_returns, call.name))
        else:
            task.complete(result if task.num_returns else None)

    def _finish_generator(self, task: Task, call: Call, result: Iterator[Any]) -> None:
        """A generator's first items are the results; when it fails before there are as many, the rest is its error."""
        values: list[Any] = []
        try:
            for value in result:
                values.append(value)
                if len(values) == task.num_returns:
                    break
            else:
                found, wanted = len(values), task.num_returns
                raise ValueError(f"Task {call.name} has num_returns={wanted}, but its generator yielded only {found} values.")
        except Exception as error:
            if not values or retry_is_due(task, call, error):
                raise
            task.complete_first(tuple(values), task_error(error, call.name))
            return
        if len(values) == 1:
            task.complete(values[0])
        else:
            task.complete_many(tuple(values))

    def count_call(self, uid: int, task: Task, result: ObjectRef) -> None:
        """An execution of the function ``uid`` is over. Does not return when it was the last that this process may run
        (``max_calls``)."""
        call = context.calls_by_function.get(uid)
        if call is None or not call.max_calls:
            return
        made = self._calls_made[uid] = self._calls_made.get(uid, 0) + 1
        if made >= call.max_calls:
            wait_for_own_work(task, result)
            leave(RECYCLED_STATUS)

    def leave_actor(self, task: Task, error: ActorExit) -> None:
        """The call ends its actor: ``exit_actor``, or a termination."""
        context.here().should_exit = True
        queue = task.queue
        if task.num_returns == 0 or not context.here().actor_id:
            task.complete(None)
        else:
            fail(task, left_error(error))
        if isinstance(error, ActorTerminated):
            context.here().retire_thread(queue)
        elif context.here().leave_threads(error):
            return
        leave(LEFT_STATUS)

    def exit_requested(self, task: Task, error: SystemExit) -> None:
        """User code called ``sys.exit``."""
        if context.here().actor_id is not None:
            if error.code == 0:
                self.leave_actor(task, ActorExit("sys.exit(0) was called."))
                return
            leave(_status_of(error))
        message = f"The worker died: the task {task.name.removeprefix(UNTOLD)} called sys.exit({error.code!r})."
        fail(task, exceptions.WorkerCrashedError(message))
        leave(RECYCLED_STATUS)


def wait_for_own_work(last: Task, result: ObjectRef) -> None:
    """Until everything that this process has submitted is done: with its end the rest would fail.

    Its CPU is lent meanwhile, as that of an execution that waits: of ``last``, the one that is over, with its ``result``."""
    slot = _kernel.my_slot()
    if _kernel.record_state(result.record) == _kernel.SEALED:  # else it is tried again, perhaps elsewhere by now
        _kernel.set_current(last)
    while _kernel.has_open_work(slot):
        records = _kernel.list_records(OWN_WORK_MAX)
        open_work = [item["ref"] for item in records if item["owner"] == slot and item["kind"] in WORK_KINDS]
        unsealed = [ref for ref in open_work if _kernel.record_state(ref.record) != _kernel.SEALED]
        try:
            _kernel.wait_refs(unsealed, unsealed, len(unsealed), FOREVER_S)
        except exceptions.DeadlockError:  # it waits for what this process holds: only the end of the process lets others go on
            return


@contextlib.contextmanager
def thread_variables(threads: int) -> Iterator[None]:
    """Tells libraries how many threads they may use, unless the user has told them."""
    if threads == 1 or not context.here().sets_thread_variables:
        yield
        return
    before = native_threads.current_variables()
    native_threads.limit_native_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        native_threads.obey_variables()


def leave(status: int) -> NoReturn:
    """Ends this process now, after what was registered with atexit. Nothing else of the interpreter is unwound."""
    try:
        context.here().on_leave()
        atexit._run_exitfuncs()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        stop(status)


def stop(status: int) -> NoReturn:
    """Ends this process now, as when it is killed, but with what it printed."""
    try:
        for output in (sys.stdout, sys.stderr):
            output.flush()
    finally:
        if context.process.ends_by:
            os.kill(os.getpid(), context.process.ends_by)
        os._exit(status)


def left_error(error: BaseException) -> exceptions.ActorDiedError:
    """What callers of an actor get that has left by itself."""
    return exceptions.ActorDiedError(f"The actor exited: {str(error) or 'exit_actor() is called.'} It is not restarted.")


def task_error(error: BaseException, name: str) -> exceptions.RayTaskError:
    """What a caller is to see of ``error``: a dependency's error keeps its first cause."""
    actor_id = context.here().actor_id
    if actor_id is None:
        return exceptions.RayTaskError.from_exception(name, error)
    try:
        shown = context.here().describe()
    except Exception as failure:  # a __repr__ of the user's
        shown = f"<{context.here().class_path} whose repr raised {type(failure).__name__}>"
    return exceptions.RayTaskError.from_exception(name, error, actor_id=actor_id.hex(), actor_repr=shown)


def fail(task: Task, error: BaseException) -> None:
    """Seals the task with ``error``; when even that can't be pickled, with its text."""
    try:
        task.fail(error)
    except Exception as unpicklable:
        text = f"{type(error).__name__}: {error}\n(the error itself can't be sent: {unpicklable})"
        task.fail(exceptions.RaySystemError(text))


def several(result: Any, wanted: int, name: str) -> tuple[Any, ...]:
    """The values of a call with ``num_returns`` > 1. Raises ValueError or TypeError when it did not give as many."""
    try:
        values = tuple(result)
    except TypeError:
        raise TypeError(
            f"Task {name} has num_returns={wanted}, so it must return a sequence of {wanted} values, "
            f"but it returned {type(result).__name__}"
        ) from None
    if len(values) != wanted:
        raise ValueError(
            f"Task returned {len(values)} objects, but num_returns={wanted}: {name} must return as many as it was asked for."
        )
    return values


def _items(task: Task, call: Call, result: Iterable[Any]) -> list[ObjectRef]:
    """A reference for each item. An error becomes the last one."""
    refs = []
    try:
        for item in result:
            refs.append(_kernel.put_value(item))  # noqa: PERF401 - what came before an error is kept
    except Exception as error:
        if retry_is_due(task, call, error):
            raise
        failed = _kernel.put_value(None)
        _kernel.replace_value(failed, dumps_error(task_error(error, call.name)))
        refs.append(failed)
    return refs


def retry(task: Task) -> None:
    """Queues the task again. One that has failed several times waits first: what it needs may take a while to come back.

    Calls of actors do not wait: others may depend on the thread or the loop they run on."""
    failures = task.attempt + 1
    try:
        if failures > PROMPT_RETRIES and context.here().actor_id is None:
            time.sleep(min(RETRY_PAUSE_MIN_S * 2 ** (failures - PROMPT_RETRIES - 1), RETRY_PAUSE_MAX_S))
    except KeyboardInterrupt:
        fail_cancelled(task)
    else:
        if not task.retry():
            fail_cancelled(task)


def is_call(task: Task) -> bool:
    """Whether it is a call of an actor's method. Cancelled, it has no value, whatever the method made of it."""
    return _kernel.record_kind(task.record) in context.ACTOR_CALLS


def fail_cancelled(task: Task) -> None:
    """Seals a task that was cancelled while it ran: the error is both a TaskCancelledError and the RayTaskError of what ran."""
    call = context.calls_by_function.get(task.function_uid)
    error = exceptions.TaskCancelledError(TaskID(task.ref.binary()[:24]))
    fail(task, task_error(error, call.name if call else task.name))


def stream(task: Task, result: Iterable[Any], call: Call) -> None:
    """Yields the items of a generator into the task's stream. An error becomes the last item."""
    iterator = iter(result)
    while True:
        if not task.wait_room():
            _close(iterator)
            if task.cancelled:
                fail_cancelled(task)
            else:
                task.complete(None)
            return
        try:
            item = next(iterator)
            task.yield_item(item)
        except StopIteration:
            if task.cancelled and is_call(task):
                fail_cancelled(task)
            else:
                task.complete(None)
            return
        except (ActorExit, SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if retry_is_due(task, call, error):
                raise
            post_mortem.look_at(error)
            yield_error(task, task_error(error, call.name))
            return


def yield_error(task: Task, error: BaseException) -> None:
    """The error as the stream's last item."""
    try:
        task.yield_item(error, True)
    except Exception as unpicklable:
        task.yield_item(exceptions.RaySystemError(f"{error}\n(the error itself can't be sent: {unpicklable})"), True)
    task.complete(None)


def _close(iterator: Any) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _yields(target: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(target)
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner) or inspect.iscoroutinefunction(inner)


def retry_is_due(task: Task, call: Call, error: BaseException) -> bool:
    return task.retry_exceptions and task.retries_left != 0 and _retries(call, error)


def _retries(call: Call, error: BaseException) -> bool:
    if isinstance(call.retry_exceptions, bool):
        return call.retry_exceptions
    wrapped = error.cause if isinstance(error, exceptions.RayTaskError) else error
    cause = wrapped.__cause__ if isinstance(wrapped, exceptions.UserCodeException) else wrapped
    return isinstance(cause, call.retry_exceptions) or isinstance(wrapped, call.retry_exceptions)


def _status_of(error: SystemExit) -> int:
    if error.code is None:
        return 1
    return error.code & 0xFF or 1 if isinstance(error.code, int) else 1
