"""Finding and killing what ended processes leave behind.

Every worker carries SHOAL_SESSION and SHOAL_WORKER in its environment, so programs it starts carry them too and can be told
from anybody else's in /proc/PID/environ. Nothing without our tag is ever killed, except orphans that became our own children:
those show whose they are also when they were started with another environment (see ``shoal.core.birth_marks``).
"""

from __future__ import annotations

import os
import signal
import time

from shoal.core.birth_marks import inherited_mark


def has_strangers(known: set[int]) -> bool:
    """Whether this process has children that are none of ``known``."""
    return any(pid not in known for pid in _children())


def kill_strangers(known: set[int], alive_workers: set[str]) -> set[int]:
    """Kills and reaps children that are none of ``known``, with what they leave in turn; returns those that may stay.

    A stranger stays while the worker whose tag it carries or inherited is one of ``alive_workers`` ("slot:pid")."""
    while True:
        staying = set()
        killed = []
        for pid in _children():
            if pid in known:
                continue
            if alive_workers & {_variable(pid, b"SHOAL_WORKER"), inherited_mark(pid)}:
                staying.add(pid)
            else:
                _kill(pid)
                killed.append(pid)
        if not killed:
            return staying
        for pid in killed:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue


def reap_orphans(known: set[int]) -> None:
    """Takes note of the end of descendants that became children of this process before they died."""
    for pid in _all_children():
        if pid not in known and _is_zombie(pid):
            os.waitpid(pid, os.WNOHANG)


def end_processes(pids: list[int], timeout_s: float) -> None:
    """Kills processes of ours and waits until they are gone (or zombies of somebody else's)."""
    for pid in pids:
        _kill(pid)
    deadline_s = time.monotonic() + timeout_s
    for pid in pids:
        while not _is_zombie(pid) and time.monotonic() < deadline_s:
            time.sleep(0.002)


def kill_session(session_id: str, spare: set[int], workers: set[str] | None = None) -> int:
    """Kills every process that carries the session's tag; returns how many.

    ``workers``: only what carries one of these tags of workers, too ("slot:pid")."""
    count = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spare or _variable(int(name), b"SHOAL_SESSION") != session_id:
            continue
        if workers is None or _variable(int(name), b"SHOAL_WORKER") in workers:
            _kill(int(name))
            count += 1
    return count


def _children() -> list[int]:
    """Our children, zombies excluded."""
    return [pid for pid in _all_children() if not _is_zombie(pid)]


def _all_children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
        return [int(word) for word in file.read().split()]


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _variable(pid: int, name: bytes) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return None
    for item in environment.split(b"\0"):
        key, _, value = item.partition(b"=")
        if key == name:
            return value.decode(errors="replace")
    return None


def _kill(pid: int) -> None:
    if pid <= 1:  # 0 and -1 would mean whole groups of processes, 1 is the system's own
        raise ValueError(f"only a single process can be killed, but got pid={pid}")
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
