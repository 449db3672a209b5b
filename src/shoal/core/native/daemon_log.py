"""What a node daemon wrote last: why it ended, for the errors of those who needed it."""

from __future__ import annotations

import os

NAME = "daemon.log"
LAST_BYTES = 4096


def log_path(session_folder: str) -> str:
    """Where a daemon that a driver started writes what goes wrong."""
    return os.path.join(session_folder, "logs", NAME)


def last_words(session_folder: str) -> str:
    """`` The end of its log: ...``, to be added to a sentence about the daemon's death; "" when it has written nothing."""
    for path in (log_path(session_folder), os.path.join(session_folder, NAME)):  # the other one: of a node that stands alone
        text = _end_of(path)
        if text:
            return f" The end of its log:\n{text}"
    return ""


def _end_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""
