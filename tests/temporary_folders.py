"""Folders for one run of the tests, which even a run that was killed leaves no longer than until the next one.

Whoever makes such a folder holds a lock in it as long as it lives. A folder whose lock is free is nobody's any more."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

LOCK_NAME = "in-use.lock"
_locks: dict[Path, int] = {}


def make(prefix: str) -> Path:
    """A new folder among the system's temporary ones. Abandoned folders of the same prefix are removed before."""
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _is_abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    lock = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    _locks[folder] = lock
    return folder


def remove(folder: Path) -> None:
    """The end of a folder of :func:`make`; of no other (KeyError)."""
    lock = _locks.pop(folder)
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _is_abandoned(folder: Path) -> bool:
    """Only what was made here has the lock; a link, or what belongs to somebody else, is left alone."""
    try:
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return False
        lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
