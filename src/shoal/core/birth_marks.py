"""Whose a process is, readable from outside: the tags in the environment with which a worker and its forks seem to have begun.

/proc/PID/environ shows the environment of the last exec, so a variable set later is not seen there, and a fork of a worker that
never executes a program would carry no tag. Therefore the daemon is started with placeholders, and each worker writes its tags
over its own copy of them. ``shoal.node.leftovers`` reads the tags."""

from __future__ import annotations

SESSION = "SHOAL_SESSION"
WORKER = "SHOAL_WORKER"
PLACEHOLDERS = {SESSION: "-" * 16, WORKER: "-" * 24}

# Fields of /proc/self/stat behind the name of the program (proc(5)): where the first environment begins and ends in memory.
_ENVIRONMENT_START = 47
_ENVIRONMENT_END = 48


def mark_process(session_id: str, worker: str) -> bool:
    """Writes the tags over this process's placeholders. False: it was started without them, or they are too short."""
    import ctypes

    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[_ENVIRONMENT_START]), int(fields[_ENVIRONMENT_END])
    environment = b"\0" + ctypes.string_at(start, end - start)
    places = []
    for name, value in ((SESSION, session_id), (WORKER, worker)):
        found = environment.find(f"\0{name}={PLACEHOLDERS[name]}\0".encode())
        if found < 0 or len(value) > len(PLACEHOLDERS[name]):
            return False
        places.append((start + found + len(name) + 1, value.encode().ljust(len(PLACEHOLDERS[name]), b"\0")))
    for address, data in places:
        ctypes.memmove(address, data, len(data))
    return True
