"""The C++ kernel. One arena per process; offsets, never pointers, cross processes.

A *record* is named by its index (int). A *slot* is a process's place in the arena, a *queue* an index too.
Functions that may block release the GIL. All functions raise RuntimeError when no arena is attached.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

# -- roles of a process slot
ROLE_DAEMON: Final[int]
ROLE_DRIVER: Final[int]
ROLE_WORKER: Final[int]
ROLE_ACTOR: Final[int]

# -- states of a record
FREE: Final[int]
CREATING: Final[int]
PENDING: Final[int]
QUEUED: Final[int]
RUNNING: Final[int]
SEALED: Final[int]

# ------------------------------------------------------------------ the arena
def create_arena(capacity_bytes: int, spill_directory: str, cores: int, session_id: bytes) -> int:
    """Makes the arena, attaches this process to it, returns the memfd's descriptor. session_id: 8 random bytes.
    spill_directory: one folder, or several with line breaks between them."""

def attach_arena(fd: int) -> None: ...
def detach_arena() -> None:
    """Gives back every count this process holds and frees its slot. The mappings stay while views live."""

def attached() -> bool: ...
def arena_epoch() -> int:
    """Grows by one with each attach: handles of an earlier session compare unequal to it."""

# ------------------------------------------------------------------ process slots
def reserve_slot(role: int) -> int: ...  # daemon, before a fork or for a driver that connects
def adopt_slot(slot: int) -> None: ...  # the process itself, after the fork / after connecting
def my_slot() -> int: ...
def set_slot_pid(slot: int, pid: int) -> None: ...

class SlotState:
    pid: int
    role: int
    queue: int  # the task queue it is assigned to; 0 = none
    running: int  # record it is executing; 0 = idle
    running_since_ns: int  # CLOCK_MONOTONIC; 0 = idle
    blocked: bool  # inside get/wait
    sleeping: bool  # waits for work
    executed: int  # tasks executed so far
    kill_reason: int

def slot_state(slot: int) -> SlotState: ...
def repair_slot(slot: int) -> list[DeadTask]:
    """After the process of ``slot`` has died: repairs what it was in the middle of, gives back its counts, and returns the
    records that were RUNNING in it (still RUNNING, counted for the caller; each must go to ``requeue`` or ``fail_record``).
    The slot is free afterwards."""

class DeadTask:
    record: int
    uid: int
    queue: int
    retries_left: int  # -1 = without limit
    name: str  # function or method name
    owner: int  # slot that submitted it
    cancelled: bool  # cancel was asked for
    is_actor_call: bool

def requeue(record: int, front: bool = True, use_retry: bool = True) -> None: ...
def fail_record(record: int, error: bytes) -> bool:
    """Seals a record that is not sealed yet with a serialized exception (``shoal.core.serialization.dumps_error``)."""

def orphaned_tasks(owner_slot: int) -> list[DeadTask]:
    """Tasks and calls not yet sealed whose submitter was ``owner_slot``."""

# ------------------------------------------------------------------ queues
CONTROL_QUEUE: Final[int]  # actors whose constructor arguments are ready, for the daemon

def create_queue(owner_slot: int, class_id: int, is_mailbox: bool) -> int: ...
def close_queue(queue: int, error: bytes) -> int:
    """Everything in it, and everything pushed later, is sealed with the error. Returns how many were queued."""

def free_queue(queue: int) -> None: ...
def rename_queue_class(queue: int, class_id: int) -> None: ...

class QueueState:
    queue: int
    length: int
    class_id: int
    owner: int
    servers: int
    is_mailbox: bool
    closed: bool

def queue_state(queue: int) -> QueueState: ...
def task_queues() -> list[QueueState]:
    """All task queues that have work in them, or workers, with their lengths."""

def pop_control() -> tuple[int, bool, bool]:
    """(record, ready, unreferenced) of the next actor on CONTROL_QUEUE; record 0: empty.

    ready: its constructor may run now. unreferenced: the last handle is gone; the caller has one count
    (`release` it after `end_actor`). Both may be true at once."""

def end_actor(record: int) -> None:
    """The daemon has done with the actor: its record and mailboxes go when the last count does."""

def serve_mailbox(queue: int) -> None: ...
def end_worker(slot: int) -> None:
    """The worker of tasks in this slot ends its loop when it is idle."""

def has_open_work(slot: int) -> bool:
    """Whether tasks or calls that the process has submitted wait or run."""

def slot_submitted(slot: int) -> bool:
    """Whether the process has ever submitted work (else it has no orphans)."""

def set_slot_job(slot: int, job: int) -> None: ...
def set_kill_reason(slot: int, reason: int) -> None: ...
def set_lent(slot: int, lent: bool) -> None:
    """The daemon lent the blocked worker's CPU to another: it rings when it goes on."""

def send_call(mailbox: int, function: ObjectRef) -> None:
    """Queues a call without arguments that nobody waits for."""

def queue_length(queue: int) -> int: ...
def queue_closed(queue: int) -> bool: ...
def activate() -> None: ...
def deactivate() -> None: ...
def may_spin() -> bool: ...
def assign(slot: int, queue: int) -> None: ...
def unassign(slot: int) -> bool:
    """The worker takes nothing more from its queue. True when it is idle already; else it finishes its task and rings."""

def set_starving(starving: bool) -> None:
    """Tells workers that some queue waits for resources: they ring when they run out of work, block or unblock."""

def wake_slot(slot: int) -> None: ...
def wait_doorbell(timeout_s: float) -> bool: ...  # releases the GIL; True when rung
def ring_doorbell() -> None: ...

# ------------------------------------------------------------------ records
def obstacle(record: int, uid: int) -> tuple[int, list[tuple[int, int]]]:
    """Why the record is not sealed. 0: it is sealed, or something goes on that will seal it, or nobody knows. 1: it runs. 2: it
    waits for this (record, uid). 3: it is queued behind these executions (record, uid) of its actor. 4: it waits for a worker:
    (task queue, scheduling class). 5: its actor runs nothing: (the actor's record, uid)."""

def executions(slot: int) -> list[tuple[int, int]]:
    """(record, uid) of the tasks and calls that the process in the slot runs."""

def set_constructing(record: int) -> None:
    """This process runs the constructor of the actor now (0: no longer): it lends its CPU while that waits."""

def record_state(record: int) -> int: ...
def record_retries(record: int) -> int:
    """Of a task or call: how often it may still run again. -1: without limit."""

def record_count(record: int) -> int: ...
def record_kind(record: int) -> int: ...
def record_size(record: int) -> int: ...
def record_where(record: int) -> int: ...
def record_pid(record: int) -> int: ...
def record_cancelled(record: int) -> bool: ...
def record_actor(record: int) -> int: ...
def record_name(record: int) -> str: ...
def keep(record: int) -> bool:
    """Takes a count that no ledger knows of (False: the record is being freed); give it back with `release`."""

def release(record: int) -> None: ...
def list_records(limit: int) -> list[dict[str, Any]]: ...
def private_view(view: object) -> Any | None: ...
def reconstruct(record: int, uid: int) -> int: ...
def list_past_tasks(limit: int) -> list[dict[str, Any]]:
    """Tasks and calls that ended and that nobody refers to any more, the latest first; some thousands are remembered."""

def session_id() -> bytes: ...
def forked() -> bool:
    """Whether this process is a fork of one that had an arena attached."""

# ------------------------------------------------------------------ objects
def set_hooks(hooks: dict[str, Callable[..., Any]]) -> None: ...
def get(object_refs: Any, *, timeout: float | None = None) -> Any: ...
def put(value: Any) -> Any: ...
def wait(
    object_refs: list[Any], *, num_returns: int = 1, timeout: float | None = None, fetch_local: bool = True
) -> tuple[list[Any], list[Any]]: ...
def get_timed(refs: list[ObjectRef], timeout_s: float) -> list[Any]:
    """timeout_s < 0: none. Raises TimeoutError itself (not a subclass)."""

def put_value(value: Any) -> ObjectRef: ...
def wait_refs(items: list[Any], refs: list[ObjectRef], num_returns: int, timeout_s: float) -> tuple[list[Any], list[Any]]: ...
def is_sealed(ref: ObjectRef) -> bool: ...
def next_item(stream: ObjectRef, timeout_s: float) -> ObjectRef | None: ...
def stream_state(stream: ObjectRef) -> tuple[int, bool]: ...
def watch(ref: ObjectRef, callback: Callable[[], None], items: bool = False) -> bool: ...
def watch_step(timeout_s: float) -> list[Callable[[], None]]: ...
def watched() -> list[tuple[ObjectRef, list[Callable[[], None]]]]:
    """The references that are watched now, with the callbacks that are still to be called."""

def function_record(value: Any, name: str) -> ObjectRef: ...
def raw_value(ref: ObjectRef) -> bytes: ...
def mark_code(ref: ObjectRef) -> None:
    """The object is a pickled function or class: `list_records` says so (``is_code``)."""

def task_of_ref(ref: ObjectRef) -> tuple[int, int]:
    """(record, uid) of the task that makes the object."""

# ------------------------------------------------------------------ submitting
class Mailbox:
    """The order of this process's calls of one mailbox. Does not keep the actor: ``uid`` tells whether ``actor`` is still its
    record."""

    def __init__(self, queue: int, actor: int, uid: int, ordered: bool, max_pending: int) -> None: ...

class Submitter:
    """``actor``: of a mailbox, kept alive. None: a weak handle's, which gives ``gone()`` when the actor is no more."""

    def __init__(
        self,
        function: ObjectRef,
        queue: int,
        mailbox: Mailbox | None,
        check: Callable[..., None],
        fallback: Callable[..., Any],
        too_many: Callable[[int], Any],
        min_positional: int,
        max_positional: int,
        retries: int,
        retry_exceptions: bool,
        num_returns: int,
        streaming: bool,
        backpressure: int,
        actor: ObjectRef | None = None,
        gone: Callable[[], Any] | None = None,
    ) -> None: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

def create_actor_record(
    function: ObjectRef, args: tuple[Any, ...], kwargs: dict[str, Any], mailboxes: list[int]
) -> ObjectRef: ...
def start_actor(ref: ObjectRef) -> None: ...

# ------------------------------------------------------------------ executing
class Task:
    uid: int
    record: int
    function: ObjectRef
    function_uid: int
    name: str
    ref: ObjectRef
    num_returns: int
    retries_left: int
    retry_exceptions: bool
    attempt: int
    owner: int
    queue: int
    produced: int
    streaming: bool
    cancelled: bool
    done: bool
    def args(self) -> Any:
        """(positional, keywords), or the ObjectRef of the failed dependency whose error this execution inherits."""

    def complete(self, value: Any) -> None: ...
    def complete_many(self, values: tuple[Any, ...]) -> None: ...
    def complete_first(self, values: tuple[Any, ...], error: BaseException) -> None:
        """The first results are ``values`` (at least one, fewer than ``num_returns``), every other is the error."""

    def fail(self, error: BaseException) -> None: ...
    def inherit(self, failed: ObjectRef) -> None: ...
    def retry(self) -> bool: ...
    def yield_item(self, value: Any, is_error: bool = False) -> int: ...
    def wait_room(self) -> bool: ...
    def has_room(self) -> bool: ...

def set_title(idle: str) -> None:
    """From now on ps shows what this process executes, in the place of its command line; ``idle`` in between."""

def run(queue: int, handlers: Any, is_mailbox: bool) -> None: ...
def take(queue: int) -> Task | None: ...
def wait_work(queue: int, timeout_s: float) -> bool: ...
def wait_mail(queue: int) -> None: ...
def spin_work(queues: list[int]) -> bool: ...
def actor_args(record: int) -> Any: ...
def seal_actor(record: int, value: Any, is_error: bool) -> None: ...
def function_ref(record: int) -> ObjectRef: ...
def set_current(task: Task | None) -> None: ...
def current_record() -> int: ...
def current_cancelled() -> bool: ...
def set_parent_variable(variable: ContextVar[int], /) -> None: ...
def record_uid(record: int) -> int: ...
def record_is_error(record: int) -> bool: ...
def read_record(record: int) -> Any:
    """The value (or the raised exception object) of a sealed record, without counting it."""

def find_record(uid: int, number: int) -> ObjectRef | None:
    """The living object that an id names: uid of the task or object, number of the result (from 1). Looks at all records."""

def hold(record: int) -> ObjectRef:
    """A counted handle of this process on a live record."""

def cancel_record(record: int, uid: int, error: bytes) -> int:
    """0: it was sealed already; 1: it had not started and is sealed now; 2: it is running (its cancel flag is set now)."""

def cancel_children(uid: int, error: bytes) -> list[tuple[int, int]]:
    """Cancels all that the execution `uid` submitted, and so on; returns (record, uid) of those that run."""

def replace_value(ref: ObjectRef, error: bytes) -> bool: ...
def running_slot(record: int, uid: int) -> int:  # slot that executes it, else 0
    ...
def spill(bytes_wanted: int) -> int: ...
def trim(idle_s: float) -> int:
    """Gives pages that nobody used for idle_s back to the system; returns bytes. Cheap when there is nothing to do."""

def memory_stats() -> dict[str, int]:
    """capacity_bytes, used_bytes (blocks), free_warm_bytes, spilled_bytes, spilled_objects, records, records_high, queues,
    processes, puts, fallback_bytes, ..."""

def spill_left_out() -> int:
    """Bits of the spill folders that could not take the last value meant for them."""

def holders(limit: int) -> list[tuple[int, str, int, int, list[int], bool, str]]:
    """The biggest objects and arguments of calls: (uid, where, size_bytes, count, [pids that hold or pin it], whether these are
    the arguments of a call, the name of that call, or of one that has the object as an argument, or "")."""

def limit_references(most: int) -> int:
    """For tests: how many references one call of this process may have as arguments. Returns what it was."""

# ------------------------------------------------------------------ handles
class ObjectRef:
    """A counted reference. 28 bytes: uid (8), actor (12), job (4), index (4)."""

    def __new__(cls, id: bytes, /) -> ObjectRef:
        """The object with that id. Getting its value raises ObjectLostError when it is gone."""

    record: int
    uid: int
    epoch: int
    def hex(self) -> str: ...
    def binary(self) -> bytes: ...
    def is_nil(self) -> bool: ...
    def size(self) -> int: ...  # 28
    def __hash__(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...
