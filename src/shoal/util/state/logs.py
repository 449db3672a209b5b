"""Log files of the session: which there are, and their lines."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shoal
from shoal.util.state import _source
from shoal.util.state.client import DEFAULT_TIMEOUT_S, StateApiClient
from shoal.util.state.exception import RayStateApiException

_FOLLOW_INTERVAL_S = 0.1
_ANSI_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SUFFIXES = ("out", "err")


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float = DEFAULT_TIMEOUT_S,
) -> dict[str, list[str]]:
    """The names of a node's log files that match ``glob_filter``, by kind: the part of the name before the first ``-``
    or ``.``.

    Raises RayStateApiException for a node whose files cannot be read from here, ServerUnavailable without a session.
    """
    _source.check_address(address)
    _check_node(node_id, node_ip, timeout)
    folder = _source.log_folder()
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob(glob_filter or "*")):
        if path.is_file():
            found.setdefault(re.split(r"[-.]", path.name, maxsplit=1)[0], []).append(path.name)
    return found


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float = DEFAULT_TIMEOUT_S,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str = "strict",
    submission_id: str | None = None,
    attempt_number: int | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """The lines of one log file: of ``filename``, or of the process ``pid``, of an actor or of a task.

    Of a task that was retried it is the file of the last attempt, or of ``attempt_number``, if its process is known.
    ``tail``: only the last lines (-1: all). ``follow``: go on with new lines, without end. ``encoding=None`` gives bytes.
    A worker writes both of its streams to one file, which is what ``suffix="out"`` means; NotImplementedError for "err".
    Raises ValueError unless exactly one of filename, actor_id, task_id and pid is given, RayStateApiException when there is no
    such file, NotImplementedError for ``submission_id``: there are no submitted jobs.
    """
    if submission_id is not None:
        raise NotImplementedError(f"get_log() does not support submitted jobs yet, but got submission_id={submission_id!r}")
    _source.check_address(address)
    _check_node(node_id, node_ip, timeout)
    if suffix not in _SUFFIXES:
        raise ValueError(f"suffix must be one of {_SUFFIXES}, but got suffix={suffix!r}")
    if suffix == "err":
        raise NotImplementedError("suffix='err': workers write both streams to one file, which suffix='out' reads")
    if sum(choice is not None for choice in (filename, actor_id, task_id, pid)) != 1:
        raise ValueError(
            "exactly one of filename, actor_id, task_id and pid must be given, but got "
            f"filename={filename!r}, actor_id={actor_id!r}, task_id={task_id!r}, pid={pid!r}"
        )
    path = _named(filename) if filename is not None else _of_process(pid or _pid_of(actor_id, task_id, attempt_number, timeout))
    return _decoded(_lines(path, follow, tail), encoding, errors, filter_ansi_code)


def _decoded(lines: Iterator[bytes], encoding: str | None, errors: str, filter_ansi_code: bool) -> Iterator[Any]:
    for line in lines:
        if encoding is None:
            yield line
        else:
            text = line.decode(encoding, errors)
            yield _ANSI_CODE.sub("", text) if filter_ansi_code else text


def _lines(path: Path, follow: bool, tail: int) -> Iterator[bytes]:
    unfinished = b""
    with path.open("rb") as file:
        for line in file if tail < 0 else deque(file, maxlen=tail):
            if follow and not line.endswith(b"\n"):
                unfinished = line
            else:
                yield line
        while follow:
            unfinished += file.readline()
            if unfinished.endswith(b"\n"):
                yield unfinished
                unfinished = b""
            else:
                time.sleep(_FOLLOW_INTERVAL_S)


def _named(filename: str) -> Path:
    folder = _source.log_folder()
    path = (folder / filename).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise RayStateApiException(f"there is no log file {filename!r}; list_logs() says which there are")
    return path


def _of_process(pid: int) -> Path:
    # The node names them worker-SLOT-PID.log.
    found = sorted(_source.log_folder().glob(f"worker-*-{pid}.log"))
    if not found:
        raise RayStateApiException(f"process {pid} has no log file: it printed nothing, or never ran here")
    return found[-1]


def _pid_of(actor_id: str | None, task_id: str | None, attempt_number: int | None, timeout: float) -> int:
    client = StateApiClient()
    if actor_id is not None:
        found = client.get("actors", actor_id, timeout)
    else:
        attempts = sorted(client.get("tasks", str(task_id), timeout), key=lambda row: row.attempt_number or 0)
        found = [row for row in attempts if attempt_number in (None, row.attempt_number)]
    pid = (found[-1].get("pid") or found[-1].get("worker_pid")) if found else None
    if not pid:
        which = "" if attempt_number is None else f", attempt_number={attempt_number}"
        raise RayStateApiException(f"no process is known that ran actor_id={actor_id!r}, task_id={task_id!r}{which}")
    return int(pid)


def _check_node(node_id: str | None, node_ip: str | None, timeout: float) -> None:
    if node_id is None and node_ip is None:
        return
    own_id = shoal.get_runtime_context().get_node_id()
    own = next((row for row in StateApiClient().get("nodes", own_id, timeout)), None)
    if node_id not in (None, own_id) or (node_ip is not None and own is not None and node_ip != own.node_ip):
        raise RayStateApiException(
            f"the log files of node_id={node_id!r}, node_ip={node_ip!r} cannot be read from node {own_id}"
        )
