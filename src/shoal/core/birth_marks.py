"""Whose a process is, readable from outside: the tags in the environment with which a worker and its forks seem to have begun.

/proc/PID/environ shows the environment of the last exec, so a variable set later is not seen there, and a fork of a worker that
never executes a program would carry no tag. Therefore the daemon is started with placeholders, and each worker writes its tags
over its own copy of them. ``shoal.node.leftovers`` reads the tags.

A program may be started with another environment, or none. Therefore each worker carries its tag a second time, as a number, in
a limit that nothing comes near: processes inherit their limits through every fork and exec, and /proc/PID/limits shows them. It
is the soft limit of the time that a real-time process may run without a pause (``ulimit -R``): 36,000 years."""

from __future__ import annotations

SESSION = "SHOAL_SESSION"
WORKER = "SHOAL_WORKER"
PLACEHOLDERS = {SESSION: "-" * 16, WORKER: "-" * 24}

_TIME_LIMIT = 15  # RLIMIT_RTTIME, in microseconds
_TIME_LIMIT_NAME = b"Max realtime timeout"
_MARKED = 1 << 60
_SLOT_SHIFT = 22  # the number of a process has so many bits at most
_SLOT_BITS = 14

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


def mark_descendants(slot: int, pid: int) -> bool:
    """Writes the worker's tag into a limit of this process, for all that it starts to inherit. False: it may not be so high."""
    import ctypes

    libc = ctypes.CDLL(None)
    limits = (ctypes.c_uint64 * 2)()
    number = _MARKED | slot << _SLOT_SHIFT | pid
    if libc.getrlimit(_TIME_LIMIT, limits) or limits[1] < number:
        return False
    limits[0] = number
    return bool(libc.setrlimit(_TIME_LIMIT, limits) == 0)


def inherited_mark(pid: int) -> str | None:
    """The tag ("slot:pid") of the worker that the process descends from, whatever its environment is. None: it shows none."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            [line] = [line for line in file if line.startswith(_TIME_LIMIT_NAME)]
    except (OSError, ValueError):
        return None
    soft = line.removeprefix(_TIME_LIMIT_NAME).split()[0]
    number = int(soft) if soft.isdigit() else 0
    if number >> (_SLOT_SHIFT + _SLOT_BITS) != _MARKED >> (_SLOT_SHIFT + _SLOT_BITS):
        return None
    slot = number >> _SLOT_SHIFT & (1 << _SLOT_BITS) - 1
    return f"{slot}:{number & (1 << _SLOT_SHIFT) - 1}"
