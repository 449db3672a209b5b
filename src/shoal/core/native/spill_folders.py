"""The folders that values are spilled to, and which of them are left out."""

from __future__ import annotations

import os

from shoal import _kernel


def joined(folders: list[str]) -> str:
    """As the kernel is told of them."""
    return "\n".join(folders)


class SpillFolders:
    """Notices when a folder of several is left out, because it is full or can't be written, and when it is used again."""

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders
        self._left_out = 0

    def news(self) -> list[str]:
        """A line for each folder about which something has changed since the last time. Cheap when nothing has."""
        left_out = _kernel.spill_left_out()
        changed, self._left_out = left_out ^ self._left_out, left_out
        return [self._line(folder, bool(left_out >> bit & 1)) for bit, folder in enumerate(self._folders) if changed >> bit & 1]

    def _line(self, folder: str, is_left_out: bool) -> str:
        if not is_left_out:
            return f"The spill folder {folder} is used again."
        why = "it is full" if os.access(folder, os.W_OK) else "it can't be written"
        return f"The spill folder {folder} is left out, because {why} or its disk failed: values go to the others."
