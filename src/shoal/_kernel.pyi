"""The C++ kernel. One arena per process; offsets, never pointers, cross processes.

A *record* is named by its index (int). A *slot* is a process's place in the arena, a *queue* an index too.
Functions that may block release the GIL. All functions raise RuntimeError when no arena is attached.
"""

from collections.abc import Callable, Sequence
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
    """Makes the arena, attaches this process to it, returns the memfd's descriptor. session_id: 8 random bytes."""

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

def pop_control() -> int:
    """The next record on CONTROL_QUEUE; 0 when it is empty."""

def assign(slot: int, queue: int) -> None: ...
def unassign(slot: int) -> bool:
    """The worker takes nothing more from its queue. True when it is idle already; else it finishes its task and rings."""

def set_starving(starving: bool) -> None:
    """Tells workers that some queue waits for resources: they ring when they run out of work, block or unblock."""

def wake_slot(slot: int) -> None: ...
def wait_doorbell(timeout_s: float) -> bool: ...  # releases the GIL; True when rung
def ring_doorbell() -> None: ...

# ------------------------------------------------------------------ records
def record_state(record: int) -> int: ...
def record_uid(record: int) -> int: ...
def record_is_error(record: int) -> bool: ...
def read_record(record: int) -> Any:
    """The value (or the raised exception object) of a sealed record, without counting it."""

def hold(record: int) -> ObjectRef:
    """A counted handle of this process on a live record."""

def cancel_record(record: int, uid: int, error: bytes) -> int:
    """0: it was sealed already; 1: it had not started and is sealed now; 2: it is running (its cancel flag is set now)."""

def running_slot(record: int, uid: int) -> int:  # slot that executes it, else 0
    ...

def spill(bytes_wanted: int) -> int: ...
def trim(idle_s: float) -> int:
    """Gives pages that nobody used for idle_s back to the system; returns bytes. Cheap when there is nothing to do."""

def memory_stats() -> dict[str, int]:
    """capacity_bytes, used_bytes (blocks), free_warm_bytes, spilled_bytes, spilled_objects, records, records_high, queues,
    processes, puts, fallback_bytes, ..."""

def holders(limit: int) -> list[tuple[int, str, int, int, list[int]]]:
    """The biggest objects: (uid, name, size_bytes, count, [pids that hold or pin it])."""

# ------------------------------------------------------------------ handles
class ObjectRef:
    """A counted reference. 28 bytes: uid (8), actor (12), job (4), index (4)."""

    record: int
    uid: int
    epoch: int
    def hex(self) -> str: ...
    def binary(self) -> bytes: ...
    def is_nil(self) -> bool: ...
    def size(self) -> int: ...  # 28
    def __hash__(self) -> int: ...
    def __eq__(self, other: object) -> bool: ...
