"""Local files that ``pip`` and ``uv`` of a runtime environment name: requirements files, wheels, source folders.

What an environment holds depends on what is in them, so their digests travel with it: another content is another environment.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLERS = ("pip", "uv")
OPTIONS = {"pip": "pip_install_options", "uv": "uv_pip_install_options"}
WORKING_DIR = "RAY_RUNTIME_ENV_CREATE_WORKING_DIR"
"""The variable by which requirements name files of the working folder."""

_OPTION = re.compile(r"^(-[A-Za-z]|--[a-z-]+)(?:[ =]\s*|$)(.*)$")
_EXTRAS = re.compile(r"\[[^\]]*\]$")
_REQUIREMENT_FILES = ("-r", "--requirement", "-c", "--constraint")
_IGNORED_FOLDERS = {"__pycache__", ".git", ".venv", "build", "dist"}

_digests: dict[str, tuple[tuple[int, int, int], str]] = {}  # path -> what it was like then, its digest
_inherited: dict[tuple[str, ...], dict[str, str]] = {}  # lines of requirements -> digests of the files that they name


def absolute(fields: dict[str, Any]) -> dict[str, Any]:
    """The same environment with local paths made absolute: installers run in another folder. ``${...}`` of WORKING_DIR stands
    for a local ``working_dir``."""
    working_dir = fields.get("working_dir") or ""
    for installer in INSTALLERS:
        wanted = fields.get(installer)
        if wanted:
            lines = wanted["packages"]
            if os.path.isdir(working_dir):
                lines = [line.replace(f"${{{WORKING_DIR}}}", working_dir) for line in lines]
            changed = {**wanted, "packages": [_absolute_line(line) for line in lines]}
            if wanted.get(OPTIONS[installer]):
                changed[OPTIONS[installer]] = [_absolute_option(option) for option in wanted[OPTIONS[installer]]]
            fields = {**fields, installer: changed}
    return fields


def digests(fields: dict[str, Any]) -> dict[str, str]:
    """Digest of every local file and folder that ``fields`` (with absolute paths) name."""
    found: dict[str, str] = {}
    for lines in _all_lines(fields):
        known = _inherited.get(tuple(lines))
        found.update({path: _digest(path) for path in _named_files(lines, set())} if known is None else known)
    return found


def inherit(fields: dict[str, Any], known: dict[str, str]) -> None:
    """In a worker: ``digests`` of the environment it runs in. Its tasks run in the same, whatever the files have become."""
    for lines in _all_lines(fields):
        _inherited[tuple(lines)] = known


def _all_lines(fields: dict[str, Any]) -> Iterator[list[str]]:
    for installer in INSTALLERS:
        if fields.get(installer):
            yield fields[installer]["packages"]


def _named_files(lines: Any, seen: set[str]) -> Iterator[str]:
    for line in lines:
        path, is_requirements = _file_of(line)
        if not path or path in seen or not os.path.exists(path):
            continue
        seen.add(path)
        yield path
        if is_requirements:
            with open(path, encoding="utf-8", errors="replace") as file:
                nested = [_absolute_line(each.strip(), os.path.dirname(path)) for each in file]
            yield from _named_files(nested, seen)


def _file_of(line: str) -> tuple[str, bool]:
    """The local path that a line of requirements names ("" for none), and whether that holds requirements itself."""
    bare = line.partition(" #")[0].partition(";")[0].strip()
    option = _OPTION.match(bare)
    if option:
        if option[1] in ("-e", "--editable"):
            return _plain_path(option[2]), False
        return (option[2], True) if option[1] in _REQUIREMENT_FILES else ("", False)
    return _plain_path(bare.partition(" @ ")[2].strip() or bare), False


def _plain_path(text: str) -> str:
    bare = _EXTRAS.sub("", text.removeprefix("file://"))
    return bare if bare.startswith("/") else ""


def _absolute_line(line: str, folder: str = "") -> str:
    """``folder``: where a path relative to the requirements file lies; other paths are relative to the working folder."""
    option = _OPTION.match(line)
    if option:
        base = folder if option[1] in _REQUIREMENT_FILES else ""
        path = os.path.abspath(os.path.join(base, option[2])) if option[2] else ""
        return f"{option[1]} {path}" if path and os.path.exists(path) else line
    name, marker, rest = line.partition(";")
    bare = _EXTRAS.sub("", name.strip())
    if (os.sep in bare or bare.endswith((".whl", ".zip", ".tar.gz"))) and os.path.exists(bare):
        return os.path.abspath(bare) + name.strip()[len(bare) :] + marker + rest
    return line


def _absolute_option(option: str) -> str:
    """A value of an option: a path that exists, with a separator in it, so that no word is taken for a file."""
    name, equals, value = option.partition("=") if option.startswith("-") else ("", "", option)
    if os.sep in value and os.path.exists(value):
        return name + equals + os.path.abspath(value)
    return option


def _digest(path: str) -> str:
    if os.path.isdir(path):
        return _folder_digest(path)
    info = os.stat(path)
    state = (info.st_mtime_ns, info.st_size, info.st_ino)
    known = _digests.get(path)
    if known is None or known[0] != state:
        known = _digests[path] = (state, _file_digest(path))
    return known[1]


def _file_digest(path: str) -> str:
    import hashlib  # with OpenSSL, which few need

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _folder_digest(folder: str) -> str:
    import hashlib  # with OpenSSL, which few need

    digest = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _IGNORED_FOLDERS and not name.endswith(".egg-info"))
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path):
                digest.update(f"{os.path.relpath(path, folder)}\0{_file_digest(path)}\0".encode())
    return digest.hexdigest()
