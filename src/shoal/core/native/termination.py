"""How an actor ends in order: one more call, behind all that are queued. The daemon sends it when the last handle is gone, a
concurrent actor to itself on SIGTERM."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.native import context, hooks
from shoal.core.native.calls import METHOD, Call

if TYPE_CHECKING:
    from types import FrameType

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


def finish_calls_on_sigterm(mailbox: int) -> None:
    """From now on SIGTERM lets the calls finish that run or wait, and ends the process then; a second one ends it at once.
    A handler that the actor's constructor has installed stays."""

    def drain(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        context.process.ends_by = signal.SIGTERM
        send_terminate(mailbox)

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, drain)
