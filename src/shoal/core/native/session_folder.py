"""The folder of a session: ``ROOT/shoal-<uid>/session_<time>_<pid>``, for the owner alone. Holds the socket, logs and spilled
values.

A session that ends in order removes its folder. When its driver and its daemon were both killed, the zygote does it as it ends.
What remains is removed when the next session starts: a folder is stale when the process that made it and its daemon are gone,
which the lock on ``daemon.lock`` tells without relying on process numbers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import stat
from collections.abc import Iterator, Sequence

SPILL_NAME = "spill"
SESSION_PREFIX = "session_"
SPILL_PREFIX = "shoal_spilled_objects_"
LOCK_NAME = "daemon.lock"
SOCKET_NAME = "daemon.sock"
CONNECTIONS_WAITING_MAX = 512
SOCKET_PATH_BYTES_MAX = 108


class UnsafeFolder(Exception):
    """The folder of sessions belongs to somebody else, or others may write to it."""


def root_of(base: str) -> str:
    """``base``/shoal-<uid>, made if need be with mode 0700. Raises UnsafeFolder."""
    root = os.path.join(base, f"shoal-{os.getuid()}")
    os.makedirs(base, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(root, 0o700)
    info = os.lstat(root)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        found = f"owner {info.st_uid} and mode {oct(info.st_mode & 0o777)}"
        raise UnsafeFolder(f"{root} must be a folder of user {os.getuid()} with mode 0700, but has {found}")
    return root


def make(folder: str) -> str:
    """Makes the folder of a session, with what is in it; returns the folder for spilled values. Raises UnsafeFolder."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    info = os.lstat(folder)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise UnsafeFolder(
            f"{folder} must be a folder of user {os.getuid()} with mode 0700, but has mode {oct(info.st_mode & 0o777)}"
        )
    spill = os.path.join(folder, SPILL_NAME)
    for path in (os.path.join(folder, "logs"), spill):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    return spill


@contextlib.contextmanager
def socket_address(folder: str) -> Iterator[str]:
    """The path of the daemon's socket, for bind or connect. A path too long for a socket's name goes by the folder's
    descriptor."""
    path = os.path.join(folder, SOCKET_NAME)
    if len(os.fsencode(path)) + len(".new") < SOCKET_PATH_BYTES_MAX:
        yield path
        return
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def listen(folder: str) -> socket.socket:
    """The daemon's socket in the folder, which is its owner's alone. Who connects is answered when the daemon is ready."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with socket_address(folder) as address:
        # Under its name only when it listens: who sees the name may connect.
        unnamed = address + ".new"
        server.bind(unnamed)
        os.chmod(unnamed, 0o600)
        server.listen(CONNECTIONS_WAITING_MAX)
        os.rename(unnamed, address)
    return server


def lock(folder: str) -> int:
    """Marks the folder as in use as long as this process (or one that inherited the descriptor) lives."""
    fd = os.open(os.path.join(folder, LOCK_NAME), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def remove_stale(root: str) -> list[str]:
    """Removes the folders of sessions whose daemon is gone; returns their names."""
    import shutil

    removed = []
    for name in os.listdir(root):
        folder = os.path.join(root, name)
        if name.startswith(SESSION_PREFIX) and _is_stale(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(name)
    return removed


def remove(folder: str, spill_folders: Sequence[str], keep_logs: bool) -> None:
    """At the end of a session. ``keep_logs`` leaves logs/ (of a node that stands alone).

    Nothing is removed, and ValueError or TypeError raised, unless every spill folder is one that a session has made."""
    import shutil

    _check_ours(folder, spill_folders)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if keep_logs and name == "logs":
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    for spill_folder in spill_folders:
        shutil.rmtree(spill_folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def remove_abandoned(folder: str, spill_folders: Sequence[str], driver_pid: int, patience_s: float) -> bool:
    """For who outlives the daemon: removes the folder if the driver is gone too, or goes within ``patience_s``. Whether it did.

    A driver that lives removes the folder itself, after it has looked for the daemon's last words. Raises as :func:`remove`."""
    if _has_ended(driver_pid, patience_s) and not _is_locked(folder):
        remove(folder, spill_folders, keep_logs=False)
        return True
    return False


def spill_folder_in(base: str, session_id: str) -> str:
    """The folder for spilled values that a session makes for itself in a place the user has named."""
    return os.path.join(base, f"{SPILL_PREFIX}{session_id}")


def _check_ours(folder: str, spill_folders: Sequence[str]) -> None:
    if isinstance(spill_folders, str):  # a sequence too, of one-letter folders: "/" among them
        raise TypeError(f"spill_folders must be a list of folders, but got spill_folders={spill_folders!r}")
    if not os.path.basename(folder).startswith(SESSION_PREFIX):
        raise ValueError(f"{folder!r} is no session's folder: nothing is removed")
    for each in spill_folders:
        name = os.path.basename(each)
        is_ours = each == os.path.join(folder, SPILL_NAME) or (name.startswith(SPILL_PREFIX) and len(name) > len(SPILL_PREFIX))
        if not os.path.isabs(each) or not is_ours:
            raise ValueError(f"{each!r} is no spill folder of the session in {folder}: nothing is removed")


def _is_stale(folder: str) -> bool:
    locked = _is_locked(folder)
    return _maker_is_gone(folder) if locked is None else not locked


def _is_locked(folder: str) -> bool | None:
    """None: there is no lock, since its daemon has not come so far."""
    try:
        fd = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _has_ended(pid: int, patience_s: float) -> bool:
    """Also when nobody has reaped it so far. A number that was given to another process since then counts as living."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], patience_s)[0])
    finally:
        os.close(descriptor)


def _maker_is_gone(folder: str) -> bool:
    pid = folder.rpartition("_")[2]
    return pid.isdigit() and not os.path.exists(f"/proc/{pid}")
