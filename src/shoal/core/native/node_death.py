"""What a driver does when its node daemon has died: nothing may wait for ever.

The zygote gets SIGTERM from the kernel when the daemon dies and ends every worker. When they are gone this process is alone
with the arena: it repairs the slots of the dead, seals everything that will never be done with LocalRayletDiedError, which
wakes whoever waits, and closes the queues so that later calls fail as well. Values that are sealed can still be read."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.native.daemon_log import last_words

if TYPE_CHECKING:
    from collections.abc import Iterable

WORKERS_END_S = 2.0
_OTHERS = (_kernel.ROLE_DAEMON, _kernel.ROLE_WORKER, _kernel.ROLE_ACTOR)


def fail_everything(daemon_pid: int, session_folder: str, mailboxes: Iterable[int]) -> None:
    """Called once, from the thread that noticed. ``mailboxes``: of the actors this process knows."""
    from shoal.core.serialization import dumps_error
    from shoal.exceptions import LocalRayletDiedError, RaySystemError

    if not _kernel.attached():
        return
    text = f"The node daemon of this machine (pid {daemon_pid}) has died, and all work of the session with it."
    error = dumps_error(LocalRayletDiedError(text + last_words(session_folder)))
    try:
        _fail_with(error, mailboxes)
    except RaySystemError:
        if _kernel.attached():
            raise  # else another thread has ended the session meanwhile, and nothing is left to fail


def _fail_with(error: bytes, mailboxes: Iterable[int]) -> None:
    slots = _dead_slots()
    for slot in slots:
        for task in _kernel.repair_slot(slot):
            _kernel.fail_record(task.record, error)
    for queue in [*(state.queue for state in _kernel.task_queues()), *mailboxes]:
        with contextlib.suppress(ValueError):  # the mailbox of an actor that had ended
            _kernel.close_queue(queue, error)
    for slot in [_kernel.my_slot(), *slots]:
        for task in _kernel.orphaned_tasks(slot):
            _kernel.fail_record(task.record, error)


def _dead_slots() -> list[int]:
    """Slots of the node's other processes once those are gone; who does not go by itself is killed."""
    found: dict[int, int] = {}
    slot, left = 1, _kernel.memory_stats()["processes"]
    while left > 0 and slot < 16384:
        state = _kernel.slot_state(slot)
        left -= state.role != 0
        if state.role in _OTHERS:
            found[slot] = state.pid
        slot += 1
    deadline_s = time.monotonic() + WORKERS_END_S
    pids = {pid for pid in found.values() if pid}
    while pids := {pid for pid in pids if _alive(pid)}:
        if time.monotonic() > deadline_s:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            deadline_s += WORKERS_END_S
        time.sleep(0.005)
    return list(found)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
