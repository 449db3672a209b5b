"""What the daemon and its zygotes say to each other; framed as in ``shoal.core.native.messages``.

A Fork travels with two descriptors (SCM_RIGHTS): where the process writes its output and its errors to."""

from __future__ import annotations

import msgspec

from shoal.core.native.messages import Message, ProtocolError


class Fork(Message):
    slot: int
    is_actor: bool = False
    spec: bytes = b""
    environment: str = ""
    devices: tuple[tuple[str, list[int]], ...] = ()
    cpus: float = 1.0


class Signal(Message):
    """To a process of ours that was not reaped yet; with ``group`` to its whole process group."""

    pid: int
    number: int
    group: bool = True


class Preload(Message):
    """Fork a successor that imports the modules; its link travels with this message (SCM_RIGHTS)."""

    modules: list[str]
    generation: int


class Quit(Message):
    """End everything this zygote has forked, and itself."""


class Forked(Message):
    slot: int
    pid: int


class ForkFailed(Message):
    slot: int
    reason: str


class Exited(Message):
    """``exit_code`` is negative for a signal; ``peak_bytes``: most resident memory."""

    slot: int
    pid: int
    exit_code: int
    peak_bytes: int


class Ready(Message):
    """It can fork now."""

    generation: int
    pid: int


class StartsThreads(Message):
    """Importing the module started a thread: this successor gave up."""

    generation: int
    module: str


ToZygote = Fork | Signal | Preload | Quit
FromZygote = Forked | ForkFailed | Exited | Ready | StartsThreads


class _ToFrame(msgspec.Struct, array_like=True):
    id: int
    message: ToZygote


class _FromFrame(msgspec.Struct, array_like=True):
    id: int
    message: FromZygote


_to_decoder = msgspec.msgpack.Decoder(_ToFrame)
_from_decoder = msgspec.msgpack.Decoder(_FromFrame)


def decode_to_zygote(body: bytes) -> ToZygote:
    """Raises ProtocolError."""
    try:
        return _to_decoder.decode(body).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no valid message for a zygote: {error}") from error


def decode_from_zygote(body: bytes) -> FromZygote:
    """Raises ProtocolError."""
    try:
        return _from_decoder.decode(body).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no valid message of a zygote: {error}") from error
