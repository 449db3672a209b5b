"""A folder with what a trainable needs to go on."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Any

from shoal.tune import storage

_METADATA_FILE = ".metadata.json"


class Checkpoint:
    """A folder, local or remote, with the state of a trainable.

    ``Checkpoint.from_directory(path)`` names a local folder; nothing is copied until it is reported. ``with
    checkpoint.as_directory() as folder`` gives a local folder to read from (the checkpoint's own one when it is local).
    """

    def __init__(self, path: str | os.PathLike[str], filesystem: Any = None) -> None:
        self.path = str(path)
        self._filesystem = filesystem

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        return cls(os.fspath(path))

    @property
    def filesystem(self) -> Any:
        """The pyarrow filesystem of ``path`` (an fsspec one for remote storage)."""
        return self._filesystem if self._filesystem is not None else storage.local_filesystem()

    @property
    def is_local(self) -> bool:
        return self._filesystem is None or storage.is_local_filesystem(self._filesystem)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copies the checkpoint into ``path`` (default: a new temporary folder) and returns that."""
        target = (
            os.fspath(path) if path is not None else os.path.join(tempfile.gettempdir(), f"checkpoint_tmp_{uuid.uuid4().hex}")
        )
        os.makedirs(target, exist_ok=True)
        if self.is_local:
            if not os.path.isdir(self.path):
                raise FileNotFoundError(f"checkpoint folder {self.path} does not exist")
            shutil.copytree(self.path, target, dirs_exist_ok=True)
        else:
            storage.download(self._filesystem, self.path, target)
        return target

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        if self.is_local:
            if not os.path.isdir(self.path):
                raise FileNotFoundError(f"checkpoint folder {self.path} does not exist")
            yield self.path
            return
        folder = self.to_directory()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def get_metadata(self) -> dict[str, Any]:
        """What ``set_metadata`` stored beside the state, {} when nothing."""
        with self.as_directory() as folder:
            file = os.path.join(folder, _METADATA_FILE)
            if not os.path.exists(file):
                return {}
            with open(file, encoding="utf-8") as opened:
                return dict(json.load(opened))

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Stores ``metadata`` (values that JSON can hold) beside the state, in place of what was there."""
        text = json.dumps(metadata)
        if self.is_local:
            with open(os.path.join(self.path, _METADATA_FILE), "w", encoding="utf-8") as file:
                file.write(text)
        else:
            storage.write_text(self._filesystem, f"{self.path}/{_METADATA_FILE}", text)

    def update_metadata(self, metadata: dict[str, Any]) -> None:
        self.set_metadata({**self.get_metadata(), **metadata})

    def __repr__(self) -> str:
        kind = "local" if self.is_local else storage.filesystem_name(self._filesystem)
        return f"Checkpoint(filesystem={kind}, path={self.path})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and (self.path, self.is_local) == (other.path, other.is_local)

    def __hash__(self) -> int:
        return hash(self.path)

    def __fspath__(self) -> str:
        raise TypeError("a Checkpoint is not a path: use `with checkpoint.as_directory() as folder`, or checkpoint.path")
