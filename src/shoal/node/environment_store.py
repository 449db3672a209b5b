"""The cache of installed environments: one folder for each content, shared by all sessions of this user.

An environment is a virtual environment in ``ROOT/<digest>``. It is complete once its marker is there, which is written last
and at once; a folder without one is what a builder that was killed has left, and nobody uses it. Whoever builds or removes an
environment holds ``ROOT/<digest>.lock`` alone; whoever uses it shares that lock for the life of its session. The kernel gives
locks back when a process dies, however it dies. Lock files stay: another process may wait for one at any moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoal.core.native import environments, local_files

MARKER = "shoal-environment.json"
BYTES_MAX = 10 * 2**30
BYTES_MAX_VARIABLE = "SHOAL_ENVIRONMENTS_BYTES_MAX"
UNUSED_S_MAX = 30 * 24 * 3600
_FORMAT = 1
_VARIABLE_PREFIXES = ("PIP_", "UV_")
_DIGEST_LETTERS = 32


class UnusableStore(Exception):
    """The cache folder belongs to somebody else, or others may write to it."""


@dataclass(frozen=True)
class Recipe:
    """Everything that an environment's content depends on. Equal recipes are the same environment."""

    installer: str
    packages: list[str]
    options: list[str]
    version: str
    check: bool
    files: dict[str, str]
    variables: dict[str, str]
    python: list[str]
    provided: list[str]
    """Distributions that the driver has: pip installs nothing that is there. uv does not look at them."""

    @property
    def digest(self) -> str:
        text = json.dumps([_FORMAT, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LETTERS]

    @property
    def label(self) -> str:
        """How messages name it."""
        packages = ", ".join(os.path.basename(package) for package in self.packages)
        shown = packages if len(packages) <= 100 else packages[:99] + "…"
        return f"{self.installer} environment {self.digest[:8]} ({shown})"


def recipe_of(fields: dict[str, Any], import_path: Sequence[str]) -> Recipe:
    """Of an environment with ``pip`` or ``uv``, for workers of this interpreter, where ``import_path`` leads to the driver's
    packages."""
    installer = next(name for name in local_files.INSTALLERS if fields.get(name))
    wanted = fields[installer]
    variables = fields.get("env_vars") or {}
    return Recipe(
        installer,
        list(wanted["packages"]),
        list(wanted.get(local_files.OPTIONS[installer]) or []),
        wanted.get(f"{installer}_version") or "",
        bool(wanted.get(f"{installer}_check")),
        dict(fields.get(environments.LOCAL_FILES) or {}),
        {name: value for name, value in sorted(variables.items()) if name.startswith(_VARIABLE_PREFIXES)},
        [sys.version, sys.implementation.name, sysconfig.get_platform(), sys.prefix, sys.base_prefix],
        sorted(_distributions(import_path)) if installer == "pip" else [],
    )


def _distributions(import_path: Sequence[str]) -> Iterator[str]:
    for folder in import_path:
        if os.path.basename(folder) in ("site-packages", "dist-packages") and os.path.isdir(folder):
            yield from (name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info")))


class EnvironmentStore:
    """``root`` is made when it is not there, with mode 0700. Raises UnusableStore, OSError."""

    def __init__(self, root: str) -> None:
        self.root = root
        os.makedirs(root, mode=0o700, exist_ok=True)
        info = os.stat(root)
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
            found = f"owner {info.st_uid} and mode {oct(info.st_mode & 0o777)}"
            raise UnusableStore(f"{root} must be a folder of user {os.getuid()} that nobody else writes to, but has {found}")

    @classmethod
    def of_user(cls) -> EnvironmentStore:
        """In $SHOAL_CACHE, by default ~/.cache/shoal."""
        cache = os.environ.get("SHOAL_CACHE") or os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "shoal"
        )
        return cls(os.path.join(os.path.abspath(cache), "environments"))

    def folder(self, digest: str) -> str:
        return os.path.join(self.root, digest)

    def is_complete(self, digest: str) -> bool:
        return os.path.exists(os.path.join(self.folder(digest), MARKER))

    def open_lock(self, digest: str) -> int:
        """A descriptor of the lock, which is not taken yet."""
        return os.open(os.path.join(self.root, f"{digest}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def share(self, digest: str, lock: int) -> bool:
        """Takes the lock to use an environment that is complete; False, and no lock, when it has to be built first."""
        if not _try_lock(lock, fcntl.LOCK_SH):
            return False
        if self.is_complete(digest):
            os.utime(os.path.join(self.folder(digest), MARKER))  # its last use
            return True
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False

    def complete(self, digest: str, facts: dict[str, Any]) -> None:
        """The last step of building it."""
        folder = self.folder(digest)
        marker = os.path.join(folder, MARKER)
        text = json.dumps({**facts, "size_bytes": _size_bytes(folder), "built_at_s": time.time()}, sort_keys=True)
        with open(marker + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(marker + ".new", marker)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Of each complete environment, by digest: ``label``, ``size_bytes``, ``built_at_s``, ..."""
        found = {}
        for name in os.listdir(self.root):
            with (
                contextlib.suppress(OSError, ValueError),
                open(os.path.join(self.folder(name), MARKER), encoding="utf-8") as file,
            ):
                found[name] = dict(json.load(file))
        return found

    def clear(self, digest: str) -> None:
        """Removes what an earlier builder has left half-made. Hold its lock."""
        _remove(self.folder(digest))

    def evict(self, keep: str) -> list[str]:
        """Removes what is half-made, not used for UNUSED_S_MAX, or beyond the size limit, the least recently used first.

        Never ``keep``, nor what somebody uses or builds. Returns the digests of complete ones that went."""
        limit = int(os.environ.get(BYTES_MAX_VARIABLE) or BYTES_MAX)
        known = sorted(self._all(), reverse=True)
        total, removed = 0, []
        for used_s, digest, size in known:
            total += size
            is_old = time.time() - used_s > UNUSED_S_MAX
            if digest == keep or not (is_old or total > limit or not size):
                continue
            if self._remove_unused(digest):
                total -= size
                removed += [digest] if size else []
        return removed

    def _all(self) -> Iterator[tuple[float, str, int]]:
        """Last use, digest and size of each; half-made ones have the size 0."""
        for name in os.listdir(self.root):
            folder = os.path.join(self.root, name)
            if not os.path.isdir(folder):
                continue
            marker = os.path.join(folder, MARKER)
            try:
                with open(marker, encoding="utf-8") as file:
                    yield os.stat(marker).st_mtime, name, max(1, int(json.load(file)["size_bytes"]))
            except (OSError, ValueError, KeyError):
                yield 0.0, name, 0

    def _remove_unused(self, digest: str) -> bool:
        lock = self.open_lock(digest)
        try:
            if not _try_lock(lock, fcntl.LOCK_EX):
                return False
            _remove(self.folder(digest))
            return True
        finally:
            os.close(lock)


def _try_lock(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: str) -> None:
    """The marker first: whoever is killed half-way leaves nothing that looks complete."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(os.path.join(folder, MARKER))
    shutil.rmtree(folder, ignore_errors=True)


def _size_bytes(folder: str) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
