"""Code that a runtime environment names: local folders, and archives, which are unpacked once per session.

Every zygote has this module, and few workers unpack anything: what copying and unpacking need is imported there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ARCHIVES = (".zip", ".whl")
MODULE = ".py"
LOCAL_URI = "file://"


class UnusablePackage(Exception):
    """A folder or an archive that is not there, or not of a kind that is supported."""


class Packages:
    """``folder`` holds what was unpacked. Workers of one session share it: a package appears there at once, or not at all."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def folder_of(self, location: str, field: str, excludes: Sequence[str] = ()) -> str:
        """The local folder with the code. A folder is used in place, or with ``excludes`` (patterns as in a .gitignore) copied.

        Raises UnusablePackage, which names ``field`` and the location."""
        is_uri = location.startswith(LOCAL_URI)
        if "://" in location and not is_uri:
            raise UnusablePackage(
                f"runtime_env {field}={location!r}: only local folders and {LOCAL_URI} archives are supported"
            )
        path = os.path.abspath(os.path.expanduser(location.removeprefix(LOCAL_URI)))
        if os.path.isdir(path):
            if not excludes:
                return path
            name = os.path.basename(path)
            return os.path.join(self._once([path, *excludes], lambda to: _copy(path, os.path.join(to, name), excludes)), name)
        is_module = field == "py_modules" and path.endswith(MODULE)
        if not os.path.isfile(path) or not (is_module or path.endswith(ARCHIVES)):
            kinds = [*ARCHIVES, MODULE] if field == "py_modules" else list(ARCHIVES)
            raise UnusablePackage(f"runtime_env {field}={location!r} is neither a local folder nor one of {kinds}")
        fill = _copy_module if is_module else _unpack
        unpacked = self._once([path, str(os.stat(path).st_mtime_ns)], lambda to: fill(path, to))
        return _below_single_folder(unpacked) if is_uri and path.endswith(".zip") else unpacked

    def _once(self, identity: Iterable[str], fill: Callable[[str], None]) -> str:
        import hashlib
        import shutil

        digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
        target = os.path.join(self._folder, digest)
        if os.path.isdir(target):
            return target
        partial = f"{target}.{os.getpid()}"
        os.makedirs(partial, exist_ok=True)
        fill(partial)
        try:
            os.rename(partial, target)
        except OSError:
            shutil.rmtree(partial)
            if not os.path.isdir(target):  # else another worker was faster
                raise
        return target


def _copy_module(path: str, to: str) -> None:
    import shutil

    shutil.copy(path, to)


def _unpack(path: str, to: str) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(to)  # which keeps to the folder: absolute and upward paths lose what leads out
    except zipfile.BadZipFile as error:
        raise UnusablePackage(f"{path} can't be unpacked: {error}") from error


def _below_single_folder(folder: str) -> str:
    """An archive made of one folder, as code hosts offer them, stands for that folder."""
    names = os.listdir(folder)
    inner = os.path.join(folder, names[0]) if len(names) == 1 else folder
    return inner if os.path.isdir(inner) and not os.path.exists(os.path.join(inner, "__init__.py")) else folder


def _copy(source: str, to: str, excludes: Sequence[str]) -> None:
    import shutil

    rules = [_rule(pattern) for pattern in excludes]

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if _is_excluded(os.path.relpath(os.path.join(folder, name), source), folder, rules)}

    shutil.copytree(source, to, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def _is_excluded(path: str, folder: str, rules: list[tuple[re.Pattern[str], bool, bool]]) -> bool:
    """The last rule that matches decides."""
    excluded = False
    for pattern, is_negated, folders_only in rules:
        if pattern.fullmatch(path) and (not folders_only or os.path.isdir(os.path.join(folder, os.path.basename(path)))):
            excluded = not is_negated
    return excluded


def _rule(pattern: str) -> tuple[re.Pattern[str], bool, bool]:
    """A line of a .gitignore: its expression, whether it begins with "!", whether it means folders only."""
    is_negated = pattern.startswith("!")
    bare = pattern[1:] if is_negated else pattern
    folders_only = bare.endswith("/")
    bare = bare.rstrip("/")
    anywhere = "" if "/" in bare else "(?:.*/)?"
    parts = re.split(r"(\*\*/|/\*\*|\*\*|\*|\?)", bare.removeprefix("/"))
    meaning = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(anywhere + "".join(meaning.get(part, re.escape(part)) for part in parts)), is_negated, folders_only
