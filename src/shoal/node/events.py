"""The vocabulary of the brain: what it is told (events) and what it asks its shell to do (instructions). Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Union

from shoal.core.native.messages import Answer, Request

# ---------------------------------------------------------------- what the shell saw


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """A task queue with work in it, or with workers."""

    queue: int
    length: int
    class_id: int
    owner: int
    closed: bool = False


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """A process of ours. ``running`` is the record it executes, 0 = none; ``blocked``: it waits in get or wait."""

    slot: int
    queue: int
    running: int
    blocked: bool = False
    executed: int = 0
    running_since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DeadTaskSeen:
    """A task or call that ran in a process when it died."""

    record: int
    uid: int
    queue: int
    retries_left: int
    name: str
    owner: int
    cancelled: bool
    is_actor_call: bool


# ---------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class Seen:
    """All queues and the slots the brain asked to see (``Brain.slots_to_watch``)."""

    now_s: float
    queues: list[QueueSeen]
    slots: list[SlotSeen]


@dataclass(frozen=True, slots=True)
class SlotReserved:
    """Answer to ForkProcess: the slot the new process will have. 0: there was none, ``reason`` says why."""

    number: int
    slot: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProcessForked:
    slot: int
    pid: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class SlotIdle:
    """Answer to Unassign: the worker had nothing to do and serves no queue any more."""

    slot: int


@dataclass(frozen=True, slots=True)
class ProcessDied:
    """``exit_code`` is negative for a signal. ``log_tail``: its last lines. ``peak_bytes``: of its resident memory."""

    slot: int
    pid: int
    exit_code: int
    dead_tasks: list[DeadTaskSeen] = field(default_factory=list)
    orphans: list[DeadTaskSeen] = field(default_factory=list)
    owned_queues: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    log_tail: str = ""


@dataclass(frozen=True, slots=True)
class DriverConnected:
    client: int
    slot: int
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class DriverGone:
    client: int
    slot: int
    orphans: list[DeadTaskSeen] = field(default_factory=list)
    owned_queues: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ActorReady:
    """The constructor's arguments are there."""

    record: int


@dataclass(frozen=True, slots=True)
class ActorUnreferenced:
    """The last handle is gone and no call waits."""

    record: int


@dataclass(frozen=True, slots=True)
class ActorStarted:
    record: int


@dataclass(frozen=True, slots=True)
class ActorInitFailed:
    """The constructor raised; the record is sealed with the error."""

    record: int


@dataclass(frozen=True, slots=True)
class MemoryShort:
    """The memory guard chose a victim; ``message`` goes to the user."""

    slot: int
    message: str


@dataclass(frozen=True, slots=True)
class RequestMade:
    client: int
    request_id: int
    message: Request
    slot: int = 0  # of the asking process


Event = Union[
    Seen,
    SlotReserved,
    ProcessForked,
    SlotIdle,
    ProcessDied,
    DriverConnected,
    DriverGone,
    ActorReady,
    ActorUnreferenced,
    ActorStarted,
    ActorInitFailed,
    MemoryShort,
    RequestMade,
]

# ---------------------------------------------------------------- instructions


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """An error to be made: ``kind`` chooses the class (``shoal.node.errors``), the rest is what its text says."""

    kind: str
    message: str
    actor_id: bytes = b""
    facts: tuple[tuple[str, str], ...] = ()
    cause_record: int = 0  # sealed record whose error is the cause


@dataclass(frozen=True, slots=True)
class ForkProcess:
    """Answered at once by SlotReserved. A worker of tasks (``actor_id`` empty) starts assigned to ``queue`` if that is not 0."""

    number: int
    queue: int
    environment: str  # runtime_env JSON
    devices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    cpus: float = 1.0
    actor_id: bytes = b""
    spec: bytes = b""
    name: str = ""
    record: int = 0


@dataclass(frozen=True, slots=True)
class Assign:
    slot: int
    queue: int


@dataclass(frozen=True, slots=True)
class Unassign:
    slot: int


@dataclass(frozen=True, slots=True)
class SetLent:
    """Whether the process rings when it goes on after get or wait: its CPU was given to another."""

    slot: int
    lent: bool


@dataclass(frozen=True, slots=True)
class SetStarving:
    starving: bool


@dataclass(frozen=True, slots=True)
class KillProcess:
    """SIGKILL to the process and its group."""

    slot: int
    reason: str


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """Ends an idle worker, unless work it submitted is not done (then the shell says nothing and it stays)."""

    slot: int


@dataclass(frozen=True, slots=True)
class ExitActor:
    """A graceful end: its mailboxes are closed with the error; the actor finishes what it runs, then leaves."""

    slot: int
    mailboxes: tuple[int, ...]
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class InterruptProcess:
    """SIGINT."""

    slot: int


@dataclass(frozen=True, slots=True)
class RequeueTask:
    record: int
    use_retry: bool = True


@dataclass(frozen=True, slots=True)
class FailTask:
    record: int
    uid: int
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class CloseQueue:
    queue: int
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class FreeQueue:
    """Of a dead owner; nobody serves it any more."""

    queue: int


@dataclass(frozen=True, slots=True)
class HoldActor:
    """The daemon holds the record (a detached actor lives without handles)."""

    record: int
    uid: int


@dataclass(frozen=True, slots=True)
class EndActor:
    """The actor is dead for good: its record and its mailboxes are sealed with the error, and the record given back."""

    record: int
    uid: int
    mailboxes: tuple[int, ...]
    error: ErrorFacts


@dataclass(frozen=True, slots=True)
class Reply:
    client: int
    request_id: int
    message: Answer


@dataclass(frozen=True, slots=True)
class Notify:
    """To the driver at ``root`` (a slot); 0: to all."""

    root: int
    message: Answer


Instruction = Union[
    ForkProcess,
    Assign,
    Unassign,
    SetLent,
    SetStarving,
    KillProcess,
    RetireWorker,
    ExitActor,
    InterruptProcess,
    RequeueTask,
    FailTask,
    CloseQueue,
    FreeQueue,
    HoldActor,
    EndActor,
    Reply,
    Notify,
]
