"""Where experiments live: a local folder, or a remote one that has a local copy and is uploaded to.

Everything is first written to local files. For a local ``storage_path`` those are the result; for a URL they lie in a staging
folder and ``upload`` brings them to the remote side.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import shutil
import tempfile
from typing import Any

from shoal.tune.result import CHECKPOINT_PREFIX, DEFAULT_STORAGE_PATH


class StorageContext:
    """The folders of one experiment (and of one trial, when ``trial_dir_name`` is given)."""

    def __init__(
        self,
        storage_path: str | None,
        experiment_dir_name: str,
        storage_filesystem: Any = None,
        trial_dir_name: str | None = None,
        sync_config: Any = None,
    ) -> None:
        path = os.fspath(storage_path) if storage_path else default_storage_path()
        self.storage_path = path
        self.experiment_dir_name = experiment_dir_name
        self.trial_dir_name = trial_dir_name
        self.sync_config = sync_config
        self.remote: Any = None
        if storage_filesystem is not None and not is_local_filesystem(storage_filesystem):
            self.remote, self.storage_fs_path = as_fsspec(storage_filesystem), path
        elif is_url(path):
            self.remote, self.storage_fs_path = filesystem_of_url(path)
        else:
            self.storage_fs_path = os.path.abspath(os.path.expanduser(path.removeprefix("file://")))
        self.storage_local_path = self._staging_path() if self.remote is not None else self.storage_fs_path

    def _staging_path(self) -> str:
        name = hashlib.sha256(self.storage_path.encode()).hexdigest()[:12]
        return os.path.join(tempfile.gettempdir(), f"shoal-tune-{os.getuid()}", name)

    @property
    def experiment_fs_path(self) -> str:
        return posixpath.join(self.storage_fs_path, self.experiment_dir_name)

    @property
    def experiment_driver_staging_path(self) -> str:
        return os.path.join(self.storage_local_path, self.experiment_dir_name)

    @property
    def trial_fs_path(self) -> str:
        return posixpath.join(self.experiment_fs_path, self.trial_dir_name or "")

    @property
    def trial_local_path(self) -> str:
        return os.path.join(self.experiment_driver_staging_path, self.trial_dir_name or "")

    trial_driver_staging_path = trial_local_path

    @property
    def trial_working_directory(self) -> str:
        return self.trial_local_path

    @property
    def storage_filesystem(self) -> Any:
        return self.remote if self.remote is not None else local_filesystem()

    def for_trial(self, trial_dir_name: str) -> StorageContext:
        other = StorageContext.__new__(StorageContext)
        other.__dict__.update(self.__dict__)
        other.trial_dir_name = trial_dir_name
        return other

    def check_writable(self) -> None:
        """Raises OSError naming the folder when nothing can be written there."""
        try:
            os.makedirs(self.experiment_driver_staging_path, exist_ok=True)
            probe = os.path.join(self.experiment_driver_staging_path, ".validate_storage_marker")
            with open(probe, "w", encoding="utf-8"):
                os.unlink(probe)
            if self.remote is not None:
                self.remote.makedirs(self.experiment_fs_path, exist_ok=True)
                write_text(self.remote, posixpath.join(self.experiment_fs_path, ".validate_storage_marker"), "")
        except OSError as error:
            raise OSError(f"storage_path must be writable, but got storage_path={self.storage_path!r}: {error}") from error

    def upload(self, local: str) -> None:
        """Brings the file or folder ``local``, inside of the staging folder, to the remote side; nothing to do for local
        storage."""
        if self.remote is None or not os.path.exists(local):
            return
        relative = os.path.relpath(local, self.storage_local_path).replace(os.sep, "/")
        target = posixpath.normpath(posixpath.join(self.storage_fs_path, relative))
        if os.path.isdir(local):
            for folder, _, files in os.walk(local):
                below = os.path.relpath(folder, local).replace(os.sep, "/")
                self.remote.makedirs(posixpath.normpath(posixpath.join(target, below)), exist_ok=True)
                for name in files:
                    self.remote.put_file(os.path.join(folder, name), posixpath.normpath(posixpath.join(target, below, name)))
        else:
            self.remote.makedirs(posixpath.dirname(target), exist_ok=True)
            self.remote.put_file(local, target)

    def fetch_experiment(self) -> None:
        """Brings the remote experiment, without its checkpoints, into the staging folder."""
        if self.remote is None:
            return
        if not self.remote.exists(self.experiment_fs_path):
            raise FileNotFoundError(f"no experiment at {self.experiment_fs_path!r}")
        download(self.remote, self.experiment_fs_path, self.experiment_driver_staging_path, skip=f"/{CHECKPOINT_PREFIX}")

    def delete_trial_folder(self, name: str) -> None:
        """Deletes a folder of this trial on both sides; a missing one is fine."""
        shutil.rmtree(os.path.join(self.trial_local_path, name), ignore_errors=True)
        if self.remote is not None and self.remote.exists(posixpath.join(self.trial_fs_path, name)):
            self.remote.rm(posixpath.join(self.trial_fs_path, name), recursive=True)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__


def default_storage_path() -> str:
    for name in ("RAY_AIR_LOCAL_CACHE_DIR", "TUNE_RESULT_DIR"):
        if os.environ.get(name):
            raise DeprecationWarning(f"{name} is gone: use storage_path={os.environ[name]!r} (of RunConfig, or tune.run)")
    return DEFAULT_STORAGE_PATH


def is_url(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def fsspec_module() -> Any:
    try:
        import fsspec
    except ImportError:
        raise ImportError("remote storage needs fsspec: pip install 'shoal[tune]' (and the package of the protocol)") from None
    return fsspec


def filesystem_of_url(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of ``url`` and the path in it."""
    filesystem, path = fsspec_module().core.url_to_fs(url)
    return filesystem, path


def as_fsspec(filesystem: Any) -> Any:
    """``filesystem`` with the methods of fsspec; pyarrow filesystems are wrapped."""
    if type(filesystem).__module__.startswith("pyarrow"):
        fsspec_module()
        from fsspec.implementations.arrow import ArrowFSWrapper

        return ArrowFSWrapper(filesystem)
    return filesystem


def local_filesystem() -> Any:
    """pyarrow's LocalFileSystem, which Ray's programs expect."""
    try:
        from pyarrow.fs import LocalFileSystem
    except ImportError:
        raise ImportError("the filesystem object needs pyarrow: pip install 'shoal[tune]'") from None
    return LocalFileSystem()


def is_local_filesystem(filesystem: Any) -> bool:
    return type(filesystem).__name__ == "LocalFileSystem"


def filesystem_name(filesystem: Any) -> str:
    protocol: Any = getattr(filesystem, "type_name", None) or getattr(filesystem, "protocol", "remote")
    return str(protocol if isinstance(protocol, str) else protocol[0])


def download(filesystem: Any, source: str, target: str, skip: str | None = None) -> None:
    """Copies the remote folder ``source`` to the local ``target``; paths that hold ``skip`` are left out."""
    remote = as_fsspec(filesystem)
    root = remote._strip_protocol(source).rstrip("/")
    for found in remote.find(root):
        below = found[len(root) :].lstrip("/")
        if skip is not None and skip in f"/{below}":
            continue
        local = os.path.join(target, *below.split("/"))
        os.makedirs(os.path.dirname(local), exist_ok=True)
        remote.get_file(found, local)


def write_text(filesystem: Any, path: str, text: str) -> None:
    with as_fsspec(filesystem).open(path, "w") as file:
        file.write(text)
