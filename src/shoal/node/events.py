"""The vocabulary of the brain: what it is told (events) and what it asks its shell to do (instructions). Plain data."""

from __future__ import annotations

import msgspec

from shoal.core.native.messages import Answer, CreateActor, Request

# ---------------------------------------------------------------- what the shell saw


class QueueSeen(msgspec.Struct, frozen=True):
    """A task queue with work in it, or with workers."""

    queue: int
    length: int
    class_id: int
    owner: int
    closed: bool = False


class SlotSeen(msgspec.Struct, frozen=True):
    """A process of ours. ``running`` is the record it executes, 0 = none; ``blocked``: it waits in get or wait."""

    slot: int
    queue: int
    running: int
    blocked: bool = False
    executed: int = 0
    running_since_s: float = 0.0


class DeadTaskSeen(msgspec.Struct, frozen=True):
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


class Seen(msgspec.Struct, frozen=True):
    """All queues and the slots the brain asked to see (``Brain.slots_to_watch``)."""

    now_s: float
    queues: list[QueueSeen]
    slots: list[SlotSeen]


class SlotReserved(msgspec.Struct, frozen=True):
    """Answer to ForkProcess: the slot the new process will have. 0: there was none, ``reason`` says why."""

    number: int
    slot: int
    reason: str = ""


class ProcessForked(msgspec.Struct, frozen=True):
    slot: int
    pid: int
    generation: int = 0


class SlotIdle(msgspec.Struct, frozen=True):
    """Answer to Unassign: the worker had nothing to do and serves no queue any more."""

    slot: int


class ProcessDied(msgspec.Struct, frozen=True):
    """``exit_code`` is negative for a signal. ``log_tail``: its last lines. ``peak_bytes``: of its resident memory."""

    slot: int
    pid: int
    exit_code: int
    dead_tasks: list[DeadTaskSeen] = msgspec.field(default_factory=list)
    orphans: list[DeadTaskSeen] = msgspec.field(default_factory=list)
    owned_queues: list[int] = msgspec.field(default_factory=list)
    peak_bytes: int = 0
    log_tail: str = ""
    calls_wait: bool = False  # actor: calls of its users are in its mailboxes, or were running and are tried again


class DriverConnected(msgspec.Struct, frozen=True):
    client: int
    slot: int
    namespace: str = ""


class DriverGone(msgspec.Struct, frozen=True):
    client: int
    slot: int
    orphans: list[DeadTaskSeen] = msgspec.field(default_factory=list)
    owned_queues: list[int] = msgspec.field(default_factory=list)


class ActorReady(msgspec.Struct, frozen=True):
    """The constructor's arguments are there."""

    record: int


class ActorUnreferenced(msgspec.Struct, frozen=True):
    """The last handle is gone. ``calls_wait``: calls made before that are still in its mailboxes."""

    record: int
    calls_wait: bool = False


class ActorStarted(msgspec.Struct, frozen=True):
    record: int


class ActorInitFailed(msgspec.Struct, frozen=True):
    """The constructor raised; the record is sealed with the error."""

    record: int


class ActorNotMade(msgspec.Struct, frozen=True):
    """The request for it could not be carried out, and whoever asked may not wait for an answer: its calls must fail."""

    request: CreateActor
    message: str


class EnvironmentReady(msgspec.Struct, frozen=True):
    """Answer to PrepareEnvironment: processes can be forked in it."""

    environment: str


class EnvironmentFailed(msgspec.Struct, frozen=True):
    """Answer to PrepareEnvironment: it can't be made; ``message`` goes to the user."""

    environment: str
    message: str


class MemoryShort(msgspec.Struct, frozen=True):
    """The memory guard chose a victim; ``message`` goes to the user. ``alone``: nothing else runs on the node."""

    slot: int
    message: str
    alone: bool = False


class PauseCancelled(msgspec.Struct, frozen=True):
    """A task was cancelled that runs nowhere: it may be one that pauses before it runs again."""

    record: int
    uid: int


class RequestMade(msgspec.Struct, frozen=True):
    client: int
    request_id: int
    message: Request
    slot: int = 0  # of the asking process


Event = (
    Seen
    | SlotReserved
    | ProcessForked
    | SlotIdle
    | ProcessDied
    | DriverConnected
    | DriverGone
    | ActorReady
    | ActorUnreferenced
    | ActorStarted
    | ActorInitFailed
    | ActorNotMade
    | EnvironmentReady
    | EnvironmentFailed
    | MemoryShort
    | PauseCancelled
    | RequestMade
)

# ---------------------------------------------------------------- instructions


class ErrorFacts(msgspec.Struct, frozen=True):
    """An error to be made: ``kind`` chooses the class (``shoal.node.errors``), the rest is what its text says."""

    kind: str
    message: str
    actor_id: bytes = b""
    facts: tuple[tuple[str, str], ...] = ()
    cause_record: int = 0  # sealed record whose error is the cause


class ForkProcess(msgspec.Struct, frozen=True):
    """Answered at once by SlotReserved. A worker of tasks (``actor_id`` empty) starts assigned to ``queue`` if that is not
    0."""

    number: int
    queue: int
    environment: str  # runtime_env JSON
    devices: tuple[tuple[str, tuple[int, ...]], ...] = ()
    cpus: float = 1.0
    actor_id: bytes = b""
    spec: bytes = b""
    name: str = ""
    record: int = 0


class PrepareEnvironment(msgspec.Struct, frozen=True):
    """Make or find the interpreter of the environment; answered by EnvironmentReady or EnvironmentFailed, however late.

    ``root``: the driver (a slot) that is told how it goes."""

    environment: str
    root: int


class Assign(msgspec.Struct, frozen=True):
    slot: int
    queue: int


class Unassign(msgspec.Struct, frozen=True):
    slot: int


class SetLent(msgspec.Struct, frozen=True):
    """Whether the process rings when it goes on after get or wait: its CPU was given to another."""

    slot: int
    lent: bool


class SetStarving(msgspec.Struct, frozen=True):
    starving: bool


class KillProcess(msgspec.Struct, frozen=True):
    """SIGKILL to the process and its group."""

    slot: int
    reason: str


class RetireWorker(msgspec.Struct, frozen=True):
    """Ends an idle worker, unless work it submitted is not done (then the shell says nothing and it stays)."""

    slot: int


class ExitActor(msgspec.Struct, frozen=True):
    """A graceful end: its mailboxes are closed with the error; the actor finishes what it runs, then leaves."""

    slot: int
    mailboxes: tuple[int, ...]
    error: ErrorFacts


class InterruptProcess(msgspec.Struct, frozen=True):
    """SIGINT."""

    slot: int


class RequeueTask(msgspec.Struct, frozen=True):
    """Unless it has ended meanwhile, or was cancelled: then it is sealed as such."""

    record: int
    uid: int
    use_retry: bool = True


class FailTask(msgspec.Struct, frozen=True):
    record: int
    uid: int
    error: ErrorFacts


class CloseQueue(msgspec.Struct, frozen=True):
    queue: int
    error: ErrorFacts


class FreeQueue(msgspec.Struct, frozen=True):
    """Of a dead owner; nobody serves it any more."""

    queue: int


class HoldActor(msgspec.Struct, frozen=True):
    """The daemon holds the record (a detached actor lives without handles)."""

    record: int
    uid: int


class EndActor(msgspec.Struct, frozen=True):
    """The actor is dead for good: its record and its mailboxes are sealed with the error, and the record given back.

    ``slot`` is that of its process when that still lives: until it is gone it serves the mailboxes, which no other actor may
    get."""

    record: int
    uid: int
    mailboxes: tuple[int, ...]
    error: ErrorFacts
    slot: int = 0


class Reply(msgspec.Struct, frozen=True):
    client: int
    request_id: int
    message: Answer


class Notify(msgspec.Struct, frozen=True):
    """To the driver at ``root`` (a slot); 0: to all."""

    root: int
    message: Answer


Instruction = (
    ForkProcess
    | PrepareEnvironment
    | Assign
    | Unassign
    | SetLent
    | SetStarving
    | KillProcess
    | RetireWorker
    | ExitActor
    | InterruptProcess
    | RequeueTask
    | FailTask
    | CloseQueue
    | FreeQueue
    | HoldActor
    | EndActor
    | Reply
    | Notify
)
