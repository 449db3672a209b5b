"""What the exit status of a worker says, and how its death is told to the user.

A worker that leaves on purpose says so by its exit code; these codes are the only protocol between it and the daemon at its
end."""

from __future__ import annotations

import enum
import signal

from shoal.node.events import ProcessDied

EXIT_INTENDED = 76
"""It leaves because it was told to, or wants to: not 0, with which user code may end the process at any point."""
EXIT_RECYCLE = 77
"""``max_calls`` is reached: the worker is replaced, nothing failed."""
EXIT_CONSTRUCTOR_FAILED = 78
"""The constructor of an actor raised during a restart."""
EXIT_ENVIRONMENT_FAILED = 79
"""The runtime environment could not be set up; the reason is in the log."""


class ExitKind(enum.Enum):
    INTENDED = "intended"
    RECYCLE = "recycle"
    CONSTRUCTOR_FAILED = "constructor failed"
    ENVIRONMENT_FAILED = "environment failed"
    CRASH = "crash"


_KINDS = {
    EXIT_INTENDED: ExitKind.INTENDED,
    EXIT_RECYCLE: ExitKind.RECYCLE,
    EXIT_CONSTRUCTOR_FAILED: ExitKind.CONSTRUCTOR_FAILED,
    EXIT_ENVIRONMENT_FAILED: ExitKind.ENVIRONMENT_FAILED,
}


def exit_kind(exit_code: int) -> ExitKind:
    """``exit_code`` as in ``os.waitstatus_to_exitcode``: negative for a signal."""
    return _KINDS.get(exit_code, ExitKind.CRASH)


SYSTEM_ERROR, USER_ERROR, OUT_OF_MEMORY = "SYSTEM_ERROR", "USER_ERROR", "NODE_OUT_OF_MEMORY"
USER_EXIT, SYSTEM_EXIT = "INTENDED_USER_EXIT", "INTENDED_SYSTEM_EXIT"


def exit_type(exit_code: int, ended_for: str = "", retired: bool = False) -> str:
    """The state API's word for an end. ``ended_for``: the kind of reason for which the node ended it, "" when it did not;
    ``retired``: it was to leave."""
    if ended_for:
        return _TYPES_OF_REASONS.get(ended_for, SYSTEM_EXIT)
    kind = exit_kind(exit_code)
    if kind in (ExitKind.CONSTRUCTOR_FAILED, ExitKind.ENVIRONMENT_FAILED):
        return USER_ERROR
    if kind is ExitKind.RECYCLE or (kind is ExitKind.INTENDED and retired):
        return SYSTEM_EXIT
    return USER_EXIT if kind is ExitKind.INTENDED or exit_code == 0 else SYSTEM_ERROR


_INTENTIONS = {
    EXIT_INTENDED: "left by itself: exit_actor() or sys.exit(0) was called",
    EXIT_RECYCLE: "was replaced: it had done max_calls tasks",
}
_TYPES_OF_REASONS = {
    "actor_init_failed": USER_ERROR,
    "environment_failed": USER_ERROR,
    "out of memory": OUT_OF_MEMORY,
    "actor_out_of_memory": OUT_OF_MEMORY,
    "cancelled": USER_EXIT,
}


def describe_death(died: ProcessDied, reason: str) -> str:
    """One paragraph: how it ended, the most memory it used, what it printed last."""
    if died.exit_code in _INTENTIONS and not reason:
        how = _INTENTIONS[died.exit_code]
    elif died.exit_code < 0:
        try:
            name = signal.Signals(-died.exit_code).name
        except ValueError:
            name = f"signal {-died.exit_code}"
        how = f"was ended by {name}"
    else:
        how = f"exited with code {died.exit_code}"
    text = f"the process {died.pid} {how}"
    if reason:
        text += f" ({reason})"
    if died.peak_bytes:
        text += f"; its memory peaked at {died.peak_bytes / 2**20:.0f} MiB"
    if died.log_tail:
        text += f"; its last output:\n{died.log_tail}"
    return text
