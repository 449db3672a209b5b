"""What drivers, workers and the node daemon say to each other: typed messages in length-prefixed msgpack frames, never pickle.

A frame is four bytes of length (little endian), then ``[id, message]``. A request carries an id above 0 and is answered by
exactly one frame with that id. Id 0 marks what expects no answer: one-way messages to the daemon, notifications from it.

Nothing read from a socket is executed or unpickled here; bytes that are no valid frame raise :class:`ProtocolError`.
"""

from __future__ import annotations

import struct

import msgspec

FRAME_BYTES_MAX = 512 * 1024 * 1024
"""Longer frames are refused: the specification of an actor is the only message without a small natural bound."""

INTERNAL = "internal"
_LENGTH = struct.Struct("<I")


class ProtocolError(Exception):
    """Bytes on a control connection that are no valid frame; the connection is closed."""


class Message(msgspec.Struct, array_like=True, tag=True):
    """Base of everything that travels on a control connection."""


# ---------------------------------------------------------------- requests of drivers and workers


class Hello(Message):
    """First message on a connection to the daemon's socket. ``slot`` is 0 for a driver: the daemon reserves one."""

    pid: int
    slot: int = 0
    namespace: str = ""
    log_to_driver: bool = False


class Subscribe(Message):
    """The embedding driver (which sends no Hello) says whether it wants log lines, and under which namespace it lives."""

    namespace: str = ""
    log_to_driver: bool = True


class RegisterClass(Message):
    """Asks for the id of a scheduling class. Equal requests get equal ids. Fails with "infeasible" when this node can never
    meet it.

    ``strategy``: "DEFAULT", "SPREAD", "NODE_AFFINITY" (``node_id`` hex, ``soft``). ``placement_group`` empty: none.
    ``node_labels``: a selector that holds besides the others. ``runtime_env`` is JSON with sorted keys, "" for none."""

    resources: dict[str, float]
    label_selector: dict[str, str] = {}
    fallback_label_selectors: list[dict[str, str]] = []
    strategy: str = "DEFAULT"
    node_id: str = ""
    soft: bool = False
    placement_group: bytes = b""
    bundle_index: int = -1
    runtime_env: str = ""
    node_labels: dict[str, str] = {}


class CreateActor(Message):
    """Makes an actor known. It starts once its record reaches the control queue (constructor arguments ready) and resources
    are free.

    ``mailboxes`` are queue ids, the default concurrency group first. ``spec`` goes to ``main_actor`` unread, ``handle`` to
    whoever asks for the actor by name. Fails with "name_taken" (facts: ``actor_id`` hex; ``handle`` of the holder) or
    "invalid"."""

    record: int
    uid: int
    actor_id: bytes
    creation_class_id: int
    running_class_id: int
    mailboxes: list[int]
    spec: bytes
    owner_slot: int
    name: str = ""
    namespace: str = ""
    class_name: str = ""
    detached: bool = False
    max_restarts: int = 0
    max_concurrency: int = 1
    handle: bytes = b""


class KillActor(Message):
    """Answered at once; the process dies soon after. Fails with "not_found"."""

    actor_id: bytes
    no_restart: bool = True


class NamedActor(Message):
    """Fails with "not_found" when no live actor of the namespace has the name."""

    name: str
    namespace: str


class ListNamedActors(Message):
    namespace: str | None = None  # None: all namespaces


class GetActorInfo(Message):
    """Fails with "not_found"."""

    actor_id: bytes


class GetWorkerInfo(Message):
    """What the process with the slot holds now. Fails with "not_found"."""

    slot: int


class KillWorkerRunning(Message):
    """Kills the process that runs the task (cancel with force). A task that runs nowhere is left alone."""

    record: int
    uid: int
    reason: str = "cancelled"


class InterruptTask(Message):
    """Sends SIGINT to the process that runs the task (cancel without force)."""

    record: int
    uid: int


class StillWaiting(Message):
    """Somebody waits for ``need`` of the records ``awaited`` (each with its uid), and has no time limit. Fails with "deadlock"
    when the wait can never end; the fact "record" says which of them never comes.

    ``record`` and ``uid``: the execution that waits, or the actor whose constructor does; 0: the driver."""

    record: int
    uid: int
    awaited: list[tuple[int, int]]
    need: int
    loop: int = 0
    """An event loop of an async actor waits: the mailbox that it serves."""
    executions: list[tuple[int, int]] = []
    """Of the loop: all that can't go on meanwhile."""
    blocks_loop: bool = False
    """A blocking call stops the whole loop."""
    takes_calls: bool = False
    """New calls would still be taken from the mailbox."""
    is_alone: bool = True
    """The process has no threads but those that wait or serve calls."""
    may_go_on: bool = False
    """Something else than what is awaited may end the wait: a timer, a socket, a thread."""


class Reconstruct(Message):
    """The value of this record (with its uid) is lost: its task is to run again. Fails with "lost" and why that can't be."""

    record: int
    uid: int


class ClusterResources(Message):
    pass


class AvailableResources(Message):
    pass


class Nodes(Message):
    pass


class CreatePlacementGroup(Message):
    """Fails with "invalid". One that can never be placed stays PENDING, and waiting for it fails with "infeasible" at once."""

    group_id: bytes
    bundles: list[dict[str, float]]
    strategy: str = "PACK"
    name: str = ""
    namespace: str = ""
    detached: bool = False
    bundle_label_selectors: list[dict[str, str]] = []


class RemovePlacementGroup(Message):
    group_id: bytes


class PlacementGroupTable(Message):
    group_id: bytes | None = None


class NamedPlacementGroup(Message):
    name: str
    namespace: str


class WaitPlacementGroup(Message):
    """Answered with Done once every bundle is reserved; fails with "removed", "infeasible" or "not_found"."""

    group_id: bytes


class KeyValuePut(Message):
    """Answered with Flag(value=True) when the key existed already (then it is only replaced with ``overwrite``)."""

    namespace: bytes
    key: bytes
    value: bytes
    overwrite: bool = True


class KeyValueGet(Message):
    namespace: bytes
    key: bytes


class KeyValueDelete(Message):
    """Answered with Count."""

    namespace: bytes
    key: bytes
    by_prefix: bool = False


class KeyValueList(Message):
    namespace: bytes
    prefix: bytes = b""


class KeyValueExists(Message):
    namespace: bytes
    key: bytes


STATE_KINDS = (
    "tasks",
    "actors",
    "objects",
    "workers",
    "nodes",
    "placement_groups",
    "jobs",
    "runtime_envs",
    "cluster_events",
)


class ListState(Message):
    """``kind`` is one of STATE_KINDS. Answered with Rows."""

    kind: str
    limit: int = 100


class PreloadModules(Message):
    """Modules the driver has imported: later workers are forked from a process that has them already."""

    modules: list[str]


class ActorNoLongerNeeded(Message):
    """The last handle is gone: an actor that has not started yet is dropped; a started one gets no message from here."""

    actor_id: bytes


class Shutdown(Message):
    """Ends the node. Answered with Done when every worker is gone and its last log lines were sent."""


Request = (
    Hello
    | Subscribe
    | RegisterClass
    | CreateActor
    | KillActor
    | NamedActor
    | ListNamedActors
    | GetActorInfo
    | GetWorkerInfo
    | KillWorkerRunning
    | InterruptTask
    | StillWaiting
    | Reconstruct
    | ClusterResources
    | AvailableResources
    | Nodes
    | CreatePlacementGroup
    | RemovePlacementGroup
    | PlacementGroupTable
    | NamedPlacementGroup
    | WaitPlacementGroup
    | KeyValuePut
    | KeyValueGet
    | KeyValueDelete
    | KeyValueList
    | KeyValueExists
    | ListState
    | PreloadModules
    | ActorNoLongerNeeded
    | Shutdown
)

# ---------------------------------------------------------------- answers and notifications of the daemon


class Welcome(Message):
    """Answer to Hello. The arena's descriptor travels with it (SCM_RIGHTS) when a driver asked."""

    slot: int
    daemon_pid: int
    node_id: str
    session_folder: str
    job_id: int
    default_class_id: int
    resources: dict[str, float]
    labels: dict[str, str]


class Done(Message):
    pass


class Flag(Message):
    value: bool


class Count(Message):
    value: int


class ClassId(Message):
    class_id: int


class Value(Message):
    """``value`` is None when there is no such key."""

    value: bytes | None


class Keys(Message):
    keys: list[bytes]


class Amounts(Message):
    resources: dict[str, float]


class ActorInfo(Message):
    """``state``: DEPENDENCIES_UNREADY, PENDING_CREATION, ALIVE, RESTARTING or DEAD. ``pid`` is 0 while no process runs."""

    actor_id: bytes
    record: int
    uid: int
    state: str
    name: str
    namespace: str
    class_name: str
    pid: int
    restarts: int
    max_restarts: int
    detached: bool
    mailboxes: list[int]
    handle: bytes
    death_cause: str


class WorkerInfo(Message):
    """``resources`` are those of its lease or actor; ``devices`` the indices of its GPUs and the like."""

    slot: int
    pid: int
    resources: dict[str, float]
    devices: dict[str, list[int]]


class ActorNames(Message):
    """Pairs of namespace and name."""

    names: list[tuple[str, str]]


class GroupInfo(Message):
    """``state``: PENDING, CREATED or REMOVED. ``reason``: why it can never be placed. ``placed_s``: how long that took."""

    group_id: bytes
    name: str
    namespace: str
    strategy: str
    state: str
    bundles: list[dict[str, float]]
    reason: str
    placed_s: float = 0.0


class Groups(Message):
    groups: list[GroupInfo]


Cell = bool | int | float | str | list[str] | dict[str, float | str] | None


class Rows(Message):
    """``total`` counts the rows there are; ``rows`` holds at most the limit asked for."""

    rows: list[dict[str, Cell]]
    total: int


class Failure(Message):
    """The request was refused. ``kind`` is one word for programs: infeasible, name_taken, not_found, removed, invalid,
    ended, deadlock. INTERNAL: it was not refused, the daemon made a mistake."""

    kind: str
    message: str
    facts: dict[str, str] = {}
    handle: bytes = b""


class LogLines(Message):
    """What a worker printed. ``name`` is the actor's class or name, "" for a worker of tasks."""

    pid: int
    slot: int
    name: str
    is_error: bool
    lines: list[str]


class ErrorEvent(Message):
    """Something the user should hear of although no call of theirs failed."""

    kind: str
    message: str


class CollectGarbage(Message):
    """Work waits for what actors hold, and the handle of one that nobody uses may be in a circle of objects of this driver."""


Answer = (
    Welcome
    | Done
    | Flag
    | Count
    | ClassId
    | Value
    | Keys
    | Amounts
    | ActorInfo
    | WorkerInfo
    | ActorNames
    | GroupInfo
    | Groups
    | Rows
    | Failure
    | LogLines
    | ErrorEvent
    | CollectGarbage
)


class _RequestFrame(msgspec.Struct, array_like=True):
    id: int
    message: Request


class _AnswerFrame(msgspec.Struct, array_like=True):
    id: int
    message: Answer


_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(_RequestFrame)
_answer_decoder = msgspec.msgpack.Decoder(_AnswerFrame)


def encode_frame(request_id: int, message: Message) -> bytes:
    """One frame, ready to be sent."""
    body = _encoder.encode((request_id, message))
    if len(body) > FRAME_BYTES_MAX:
        raise ProtocolError(f"a message may have at most {FRAME_BYTES_MAX} bytes, but {type(message).__name__} has {len(body)}")
    return _LENGTH.pack(len(body)) + body


def decode_request(body: bytes | bytearray | memoryview) -> tuple[int, Request]:
    """The daemon's side. Raises ProtocolError."""
    try:
        frame = _request_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no valid request: {error}") from error
    return frame.id, frame.message


def decode_answer(body: bytes | bytearray | memoryview) -> tuple[int, Answer]:
    """The client's side. Raises ProtocolError."""
    try:
        frame = _answer_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no valid answer: {error}") from error
    return frame.id, frame.message


class FrameReader:
    """Cuts a stream of bytes into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies completed by ``data``. Raises ProtocolError when a frame claims to be longer than FRAME_BYTES_MAX."""
        self._buffer += data
        bodies: list[bytes] = []
        position = 0
        while len(self._buffer) - position >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, position)
            if length > FRAME_BYTES_MAX:
                raise ProtocolError(f"a frame may have at most {FRAME_BYTES_MAX} bytes, but one claims {length}")
            end = position + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            bodies.append(bytes(self._buffer[position + _LENGTH.size : end]))
            position = end
        del self._buffer[:position]
        return bodies

    @property
    def incomplete(self) -> bool:
        """Whether bytes of an unfinished frame are waiting."""
        return bool(self._buffer)
