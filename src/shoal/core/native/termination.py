"""The daemon's way to end an actor whose last handle is gone: one more call, behind all that are queued."""

from __future__ import annotations

from shoal import _kernel
from shoal.core.native import hooks
from shoal.core.native.exports import METHOD, Call

_record: tuple[int, _kernel.ObjectRef] | None = None


def send_terminate(mailbox: int) -> None:
    """Queues ``__ray_terminate__``. Nobody waits for its result."""
    global _record
    epoch = _kernel.arena_epoch()
    if _record is None or _record[0] != epoch:
        # The daemon does not execute ``shoal/__init__``, which gives the kernel its pickling everywhere else.
        hooks.install()
        call = Call(kind=METHOD, name="__ray_terminate__", code=None, method="__ray_terminate__")
        _record = epoch, _kernel.function_record(call, call.name)
    _kernel.send_call(mailbox, _record[1])
