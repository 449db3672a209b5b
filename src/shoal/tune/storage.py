"""Where experiments live: a local folder, or a remote one that has a local copy and is uploaded to.

Everything is first written to local files. For a local ``storage_path`` those are the result; for a URL they lie in a staging
folder and ``upload`` brings them to the remote side.
"""

from __future__ import annotations

import atexit
import contextlib
import copy
import hashlib
import os
import posixpath
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection
from typing import Any

from shoal.tune.result import (
    CHECKPOINT_PREFIX,
    DEFAULT_STORAGE_PATH,
    EXPR_ERROR_FILE,
    EXPR_ERROR_PICKLE_FILE,
    EXPR_PARAM_FILE,
    EXPR_PARAM_PICKLE_FILE,
    EXPR_PROGRESS_FILE,
    EXPR_RESULT_FILE,
)

_RECORDS = {
    EXPR_ERROR_FILE,
    EXPR_ERROR_PICKLE_FILE,
    EXPR_PARAM_FILE,
    EXPR_PARAM_PICKLE_FILE,
    EXPR_PROGRESS_FILE,
    EXPR_RESULT_FILE,
}


class StorageContext:
    """The folders of one experiment (and of one trial, when ``trial_dir_name`` is given)."""

    __slots__ = (
        "experiment_dir_name",
        "remote",
        "storage_fs_path",
        "storage_local_path",
        "storage_path",
        "sync_config",
        "trial_dir_name",
    )

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
        if path.startswith("memory://"):
            raise ValueError(f"storage_path must outlive a process, but got storage_path={path!r}, which is each process's own")
        if storage_filesystem is not None and not is_local_filesystem(storage_filesystem):
            self.remote, self.storage_fs_path = as_fsspec(storage_filesystem), path
        elif is_url(path):
            self.remote, self.storage_fs_path = filesystem_of_url(path)
        else:
            self.storage_fs_path = os.path.abspath(os.path.expanduser(path.removeprefix("file://")))
        self.storage_local_path = self._staging_path() if self.remote is not None else self.storage_fs_path

    def _staging_path(self) -> str:
        options = getattr(self.remote, "storage_options", {})
        identity = f"{filesystem_name(self.remote)} {sorted(options.items(), key=str)} {self.storage_path}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:12]
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
        other = copy.copy(self)
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
                marker = posixpath.join(self.experiment_fs_path, ".validate_storage_marker")
                write_text(self.remote, marker, "")
                self.remote.rm_file(marker)
        except OSError as error:
            raise OSError(f"storage_path must be writable, but got storage_path={self.storage_path!r}: {error}") from error

    def upload(self, local: str, leave_out: Callable[[str], bool] | None = None) -> None:
        """Brings the file or folder ``local``, inside of the staging folder, to the remote side; nothing to do for local
        storage. ``leave_out`` is asked about each path below a folder.

        Raises OSError naming the remote path, also after ``SyncConfig.sync_timeout`` seconds.
        """
        if self.remote is None or not os.path.exists(local):
            return
        relative = os.path.relpath(local, self.storage_local_path).replace(os.sep, "/")
        target = posixpath.normpath(posixpath.join(self.storage_fs_path, relative))
        limit_s = self.sync_config.sync_timeout if self.sync_config is not None else None
        try:
            call_with_limit(lambda: self._put(local, target, leave_out or (lambda path: False)), limit_s)
        except Exception as error:
            raise OSError(
                f"{local} could not be brought to {target!r} of {self.storage_path!r}, it stays here: {error}"
            ) from error

    def _put(self, local: str, target: str, leave_out: Callable[[str], bool]) -> None:
        if not os.path.isdir(local):
            self.remote.makedirs(posixpath.dirname(target), exist_ok=True)
            self.remote.put_file(local, target)
            return
        for folder, _, names in os.walk(local):
            below = os.path.relpath(folder, local).replace(os.sep, "/")
            kept = [name for name in names if not leave_out(posixpath.normpath(posixpath.join(below, name)))]
            if kept:
                self.remote.makedirs(posixpath.normpath(posixpath.join(target, below)), exist_ok=True)
            for name in kept:
                self.remote.put_file(os.path.join(folder, name), posixpath.normpath(posixpath.join(target, below, name)))

    def upload_trial(self, log_files: Collection[str | None] = ()) -> None:
        """Brings the trial's folder to the remote side: what the run and its loggers write, ``log_files``, and with
        ``SyncConfig.sync_artifacts`` also the files that the trial itself has made."""
        artifacts = self.sync_config is not None and self.sync_config.sync_artifacts

        def leave_out(path: str) -> bool:
            if path.startswith(CHECKPOINT_PREFIX):
                return True  # each is brought there when it is reported
            return not (artifacts or path in _RECORDS or path in log_files or path.startswith("events.out.tfevents"))

        self.upload(self.trial_local_path, leave_out)

    def fetch_experiment(self) -> None:
        """Brings the remote experiment, without its checkpoints, into the staging folder."""
        if self.remote is None:
            return
        if not self.remote.exists(self.experiment_fs_path):
            raise FileNotFoundError(f"no experiment at {self.experiment_fs_path!r}")
        download(self.remote, self.experiment_fs_path, self.experiment_driver_staging_path, skip=f"/{CHECKPOINT_PREFIX}")

    def drop_local_copy_at_exit(self) -> None:
        """Lets the staging folder of this experiment go with this process; nothing to do for local storage."""
        if self.remote is not None:
            atexit.register(_remove_in, os.getpid(), self.experiment_driver_staging_path)

    def delete_trial_folder(self, name: str) -> None:
        """Deletes a folder of this trial on both sides; a missing one is fine."""
        shutil.rmtree(os.path.join(self.trial_local_path, name), ignore_errors=True)
        if self.remote is not None and self.remote.exists(posixpath.join(self.trial_fs_path, name)):
            self.remote.rm(posixpath.join(self.trial_fs_path, name), recursive=True)


def _remove_in(pid: int, folder: str) -> None:
    if os.getpid() == pid:  # and not in a fork of it
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(folder))  # only when no other experiment is in it


def call_with_limit(call: Callable[[], None], limit_s: float | None) -> None:
    """Calls ``call`` and raises what it raises, or TimeoutError after ``limit_s`` seconds; it may then still be running."""
    if not limit_s:
        call()
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="upload", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimeoutError(f"not done after sync_timeout={limit_s} seconds")
    if raised:
        raise raised[0]


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
