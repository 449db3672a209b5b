"""What the kernel asks of Python: pickling, raising stored errors, and the slow paths of get, put and wait."""

from __future__ import annotations

import errno
import os
import pickle
from typing import TYPE_CHECKING, Any, NoReturn

from shoal import _kernel, exceptions
from shoal.core import api, serialization, session
from shoal.core.native.reconstruction import LOST
from shoal.core.native.streams import stream_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.native.engine import NativeEngine
    from shoal.core.native.tasks import Check

HOLDERS_SHOWN = 8
_CHANGED = {0: "the file is shorter than what was written", errno.EBADMSG: "its bytes are not what was written"}
RECORD_PUT = 0
REF_BYTES = 28


def raise_error(error: BaseException) -> NoReturn:
    """Raises what a record holds as its error: a task's own as its cause's class, too."""
    if isinstance(error, exceptions.RayTaskError):
        raise error.as_instanceof_cause()
    raise error


def store_full(size_bytes: int, code: int) -> NoReturn:
    """Raises ObjectStoreFullError or OutOfDiskError with a table of who holds what."""
    stats = _kernel.memory_stats()
    text = (
        f"An object of {size_bytes:,} bytes has no room: {stats['used_bytes']:,} of {stats['capacity_bytes']:,} bytes of the "
        f"object store are in use, {stats['spilled_bytes']:,} bytes are on disk"
    )
    if code in (errno.ENOSPC, errno.EDQUOT):
        raise exceptions.OutOfDiskError(f"{text}, and the disk of the spill folder is full.\n{_holders()}")
    reason = f" ({errno.errorcode.get(code, code)})" if code else ""
    raise exceptions.ObjectStoreFullError(f"{text}, and no more could be moved there{reason}.\n{_holders()}")


def _holders() -> str:
    lines = ["The biggest objects (bytes, references, where, processes that hold them, what it is):"]
    lines += [
        f"  {size_bytes:>16,}  {count:>4}  {where:<9}  {', '.join(map(_process, pids)) or '-'}  {_what(uid, is_own, call)}"
        for uid, where, size_bytes, count, pids, is_own, call in _kernel.holders(HOLDERS_SHOWN)
    ]
    return "\n".join(lines)


def _process(pid: int) -> str:
    return f"pid {pid}{' (this process)' if pid == os.getpid() else ''}"


def _what(uid: int, is_own: bool, call: str) -> str:
    """What the object is to the user, or of what call these are the own arguments.

    The object is counted while it is looked at, and may be gone already."""
    if is_own:
        return f"arguments of {call}"
    user = f", argument of {call}" if call else ""
    ref = _kernel.find_record(uid, 1)
    if ref is None:
        return f"one of several results{user}"
    is_put = _kernel.record_kind(ref.record) == RECORD_PUT
    return f"{'put' if is_put else f'result of {_kernel.record_name(ref.record)}'}{user}"


def value_lost(ref: _kernel.ObjectRef, path: str, code: int) -> None:
    """The file of a spilled value is gone, unreadable, changed (EBADMSG) or cut short (0): has the value computed again.

    Raises ObjectReconstructionFailedError when that can't be done."""
    from shoal.core.native.control import RequestFailed
    from shoal.core.native.messages import Reconstruct

    try:
        _native_engine().control.request(Reconstruct(ref.record, ref.uid))
    except RequestFailed as failure:
        if failure.kind != LOST:
            raise
        trouble = _CHANGED.get(code) or os.strerror(code)
        told = exceptions.ObjectReconstructionFailedError.REASON_MESSAGES[str(failure)]
        because = f"{told}. The value was moved to the file {path}, which can't be read: {trouble}"
        raise exceptions.ObjectReconstructionFailedError(ref.hex(), str(failure), because) from None


def not_attached() -> NoReturn:
    """Raises what a call without a session means: forked, not started, or not connected."""
    session.require_engine()
    raise exceptions.RaySystemError("the session of this process is ending")


def ref_of(binary: bytes) -> _kernel.ObjectRef:
    """``ObjectRef(binary)``: the object with that id. When it is gone already, getting the reference's value raises
    ObjectLostError: an id alone keeps no object.

    Raises ValueError unless ``binary`` has 28 bytes."""
    if len(binary) != REF_BYTES:
        raise ValueError(f"the id of an object has {REF_BYTES} bytes, but got {len(binary)}: {binary!r}")
    uid, number = int.from_bytes(binary[:8], "big"), int.from_bytes(binary[24:], "little")
    found = _kernel.find_record(uid, number)
    if found is not None:
        return found
    lost = _kernel.put_value(None)
    error = exceptions.ObjectLostError(binary.hex(), message="There is no such object: its last reference is gone.")
    _kernel.replace_value(lost, serialization.dumps_error(error))
    return lost


def not_sent(error: TypeError, check: Check | None) -> TypeError:
    """What a call, or a put (None), raises when ``error`` came from pickling an argument, or the value."""
    if not isinstance(error, serialization.UnpicklableError):
        return error
    return error.named("put value") if check is None else error.named("argument", f" for a task or actor {check.subject}")


def long_wait(awaited: list[tuple[int, int]], need: int) -> None:
    """Raises DeadlockError when this thread's wait for ``need`` of the records (with their uids) can never end."""
    from shoal.core.native.long_waits import tell

    tell(awaited, need)


def _native_engine() -> NativeEngine:
    from shoal.core.native.engine import NativeEngine

    engine = session.require_engine()
    assert isinstance(engine, NativeEngine), "the kernel's records are those of a native session"
    return engine


def install() -> None:
    """Gives the kernel its hooks. Done once, when the package is imported."""
    _kernel.set_hooks(all_hooks())


def all_hooks() -> dict[str, Callable[..., Any]]:
    """By the names that the kernel calls them by."""
    return {
        "serialize": serialization.serialize,
        "raise_error": raise_error,
        "store_full": store_full,
        "get": api.get,
        "put": api.put,
        "wait": api.wait,
        "loads": pickle.loads,
        "stream": stream_of,
        "not_attached": not_attached,
        "ref_of": ref_of,
        "not_sent": not_sent,
        "value_lost": value_lost,
        "long_wait": long_wait,
    }
