"""Which session an address means: the folder of a node on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LOCAL_PREFIX = "unix:"
SOCKET_NAME = "daemon.sock"
FOLDER_OPTION = b"--session-folder"


def session_folder_of(address: str | None, temp_dir: str | None) -> str:
    """The session folder for ``init(address=...)``: a folder itself, or "auto" for this user's newest node that stands alone.

    Raises ConnectionError when there is no such node, and for addresses of other machines, which are not supported."""
    if address == "auto":
        return _newest_standalone(temp_dir)
    folder = Path(str(address).removeprefix(LOCAL_PREFIX)).expanduser()
    if folder.is_absolute():
        if not (folder / SOCKET_NAME).exists():
            raise ConnectionError(f"there is no node at {address}: the folder has no {SOCKET_NAME}")
        return str(folder)
    raise ConnectionError(
        f"could not connect to {address!r}: clusters of several machines are not supported. "
        "An address is 'auto', 'local' or the session folder of a node on this machine."
    )


def _newest_standalone(temp_dir: str | None) -> str:
    base = Path(temp_dir or os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    found = [folder for folder in _standalone_folders() if base in folder.parents and (folder / SOCKET_NAME).exists()]
    if not found:
        raise ConnectionError(f"could not find a running node below {base}: start one with 'python -m shoal start --head'")
    return str(max(found, key=lambda folder: (folder / SOCKET_NAME).stat().st_mtime))


def _standalone_folders() -> set[Path]:
    """The session folders that running nodes of this user were started with; a program's private session is not among them."""
    folders = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if process.stat().st_uid != os.getuid():
                continue
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if FOLDER_OPTION in words[:-1]:
            folders.add(Path(os.fsdecode(words[words.index(FOLDER_OPTION) + 1])))
    return folders
