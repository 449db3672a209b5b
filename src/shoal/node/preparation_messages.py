"""What a process that prepares an environment says to the daemon; framed as in ``shoal.core.native.messages``."""

from __future__ import annotations

import msgspec

from shoal.core.native.messages import Message, ProtocolError


class Progress(Message):
    """For the driver."""

    text: str


class Prepared(Message):
    """It can be used, and the lock on it is shared. ``cwd``: where its interpreter is started, "" for anywhere."""

    cwd: str = ""


class NotPrepared(Message):
    """It can't be made."""

    reason: str


FromPreparation = Progress | Prepared | NotPrepared


class _Frame(msgspec.Struct, array_like=True):
    id: int
    message: FromPreparation


_decoder = msgspec.msgpack.Decoder(_Frame)


def decode_from_preparation(body: bytes) -> FromPreparation:
    """Raises ProtocolError."""
    try:
        return _decoder.decode(body).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no valid message of a preparation: {error}") from error
