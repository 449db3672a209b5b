"""What running code can be told about itself: facts of the process, and of the execution on this thread."""

from __future__ import annotations

import struct
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from shoal import _kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.native.actors import NativeActorState
    from shoal.core.native.calls import Call
    from shoal.core.native.engine import NativeEngine

RECORD_CALL = 2
RECORD_CALL_STREAM = 6
ACTOR_CALLS = (RECORD_CALL, RECORD_CALL_STREAM)
CANCEL_FLAGGED = 2


class Process:
    """Facts of this process that do not change from task to task."""

    def __init__(self) -> None:
        self.is_worker = False
        self.actor_id: bytes | None = None
        self.actor_name = ""
        self.class_path = ""  # module and name of the actor's class
        self.method_path: Callable[[str], str] | None = None  # of an async actor: its methods are named by where they are from
        self.describe: Callable[[], str] = str  # the actor's repr, or its class's name while it is being constructed
        self.own_state: Callable[[], NativeActorState] | None = None  # makes a handle's state of this actor
        self.is_async_actor = False
        self.restarts = 0
        self.constructing = 0  # the record of the actor whose constructor runs
        self.stopped_loop: Callable[[], tuple[int, list[tuple[int, int]]] | None] = lambda: None
        """Of an async actor: the mailbox and the executions of the event loop that runs on this thread, and is not run while a
        blocking call waits here."""
        self.should_exit = False
        self.on_exit_requested: Callable[[], None] = lambda: None  # exit_actor() was called somewhere in this process
        self.placement_group: bytes | None = None
        self.captures_child_tasks = False
        self.runtime_env: dict[str, Any] = {}
        self.sets_thread_variables = False  # OMP_NUM_THREADS and such are ours, not the user's
        self.has_own_threads = False  # other numbers of native threads than the zygote
        self.ends_by = 0  # the signal that has asked it to end, of which it is to die when its calls are done
        self.on_leave: Callable[[], None] = lambda: None  # what an actor does before it ends on purpose
        self.retire_thread: Callable[[int], None] = lambda queue: None  # of an actor with threads: returns when it may end
        self.leave_threads: Callable[[BaseException], bool] = lambda error: (
            False
        )  # True: the calls of other threads finish first


process = Process()

inline_place: ContextVar[Process | None] = ContextVar("shoal_inline_place", default=None)
"""In inline mode: the facts of the process that the running task or actor would have to itself."""


def here() -> Process:
    """The facts of the process that this code runs in, or in inline mode seems to run in."""
    return inline_place.get() or process


class Execution:
    """One task or call under way. ``uid`` says whether the record is still this execution's: a task of an event loop may
    outlive the call that started it."""

    __slots__ = ("call", "record", "uid")

    def __init__(self, record: int, call: Call, uid: int = 0) -> None:
        self.record = record
        self.call = call
        self.uid = uid


current: ContextVar[Execution | None] = ContextVar("shoal_execution", default=None)
"""Set by the slow path and by async actors; the kernel's own loop only notes the record."""

parent: ContextVar[int] = ContextVar("shoal_parent", default=0)
"""The uid of the call under way on an event loop, where the kernel does not know it by the thread."""

calls_by_function: dict[int, Call] = {}
"""What this worker has loaded, by the uid of the call record."""


def captured_group() -> bytes | None:
    """The placement group that work started here runs in, when this code hands its own down."""
    place = here()
    return place.placement_group if place.captures_child_tasks else None


def current_record() -> int:
    """The record of the execution that asks; 0 in a driver or between executions."""
    execution = current.get()
    return execution.record if execution is not None else _kernel.current_record()


def facts(engine: NativeEngine) -> dict[str, Any]:
    """Everything the runtime context answers."""
    node, place = engine.node, here()
    found: dict[str, Any] = {
        "job_id": engine.job_id,
        "node_id": node.node_id,
        "worker_id": node.worker_id,
        "task_id": None,
        "actor_id": place.actor_id,
        "actor_name": place.actor_name,
        "is_async_actor": place.is_async_actor,
        "was_reconstructed": place.restarts > 0,
        "placement_group_id": place.placement_group,
        "captures_child_tasks": place.captures_child_tasks,
        "node_labels": node.labels,
        "session_name": node.session_name,
        "temp_dir": node.temp_folder,
        "gcs_address": node.address,
        "runtime_env": place.runtime_env if place.is_worker else dict(engine.job_env or {}),
        "assigned": node.assigned,
    }
    if place.is_worker:
        found.update(_execution_facts())
    return found


def _function_name(call: Call) -> str:
    place = here()
    if place.method_path is not None:
        return place.method_path(call.method)
    return f"{place.class_path}.{call.method}" if place.class_path else call.method or call.name


def _facts_of_ended_call(execution: Execution) -> dict[str, Any]:
    """What can be told when nobody refers to the call any more."""
    place = here()
    assert place.actor_id is not None
    return {
        "task_id": struct.pack(">Q", execution.uid) + place.actor_id,
        "task_name": execution.call.task_name,
        "task_function_name": _function_name(execution.call),
        "is_canceled": False,
    }


def _execution_facts() -> dict[str, Any]:
    record, place = current_record(), here()
    if not record:
        return {}
    execution = current.get()
    if execution is not None and execution.uid and _kernel.record_uid(record) != execution.uid:
        return _facts_of_ended_call(execution)
    ref = _kernel.hold(record)
    call = calls_by_function.get(_kernel.function_ref(record).uid) if _kernel.record_name(record) else None
    call = execution.call if execution is not None else call
    return {
        "task_id": ref.binary()[:24],
        "placement_group_id": (call.placement_group if call else b"") or place.placement_group,
        "task_name": call.task_name if call else None,
        "task_function_name": _function_name(call) if call else None,
        "is_canceled": _kernel.record_cancelled(record),
    }
