"""Rows of the state lists that come from the arena's records alone: tasks and objects."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from shoal import _kernel
from shoal.core.native.calls import UNTOLD
from shoal.core.native.node import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from shoal.core.native import messages as m

_STATE_NAMES = {
    1: "CREATING",
    2: "PENDING_ARGS_AVAIL",
    3: "PENDING_NODE_ASSIGNMENT",
    4: "RUNNING",
    5: "FINISHED",
}
_TASK_KINDS = {1: "NORMAL_TASK", 2: "ACTOR_TASK", 4: "NORMAL_TASK", 6: "ACTOR_TASK"}
_OBJECT, _RETURN = 0, 3
SCAN_MAX = 100_000
EARLIER_ATTEMPTS_MAX = 100
"""Of one task, beside its last attempt: one that is retried for ever must not hide the others."""
_CALLS = (2, 6)
_OF_ONE_ATTEMPT = ("start_time_ms", "end_time_ms", "node_id", "worker_id", "worker_pid", "error_type", "error_message")
_QUEUED, _RUNNING = 3, 4
TASK_ID_BYTES, ACTOR_ID_AT, JOB_ID_AT = 24, 8, 20
DRIVER_TASK = "f" * 2 * JOB_ID_AT
"""With the job's id behind it: the parent of what a driver submits."""


class Runner(NamedTuple):
    """A process that executes."""

    worker_id: str
    pid: int


def tasks(
    node_id: str, runners: Mapping[int, Runner], actors: Mapping[bytes, Runner], lost: Mapping[int, Runner]
) -> list[dict[str, m.Cell]]:
    """Tasks and calls: those that have a record, and the latest of those that ended. ``runners``: the processes of the records
    that are being executed; ``actors``: those of the actors, by their ids; ``lost``: those that have died with tasks, by the
    uids of these. Attempts that have failed and were followed by others come last."""
    rows: list[dict[str, m.Cell]] = []
    parents: list[int] = []
    for item in _kernel.list_records(SCAN_MAX):
        if item["kind"] in _TASK_KINDS and not item["name"].startswith(UNTOLD):
            task_id = item["ref"].binary()[:TASK_ID_BYTES]
            runner = actors.get(task_id[ACTOR_ID_AT:]) if item["kind"] in _CALLS else runners.get(item["record"])
            if item["state"] != _RUNNING:
                runner = _lost_with(lost, item, task_id)
            rows.append(_task_row(item, task_id, _state_of(item), node_id, runner))
            parents.append(item["parent"])
    for item in _kernel.list_past_tasks(SCAN_MAX):
        if item["name"].startswith(UNTOLD):
            continue
        state = "FAILED" if item["is_error"] else "FINISHED"
        rows.append(_task_row(item, item["task_id"], state, node_id, _lost_with(lost, item, item["task_id"])))
    known = {int(str(row["task_id"])[:16], 16): row["task_id"] for row in rows}
    for row, parent in zip(rows, parents, strict=False):
        row["parent_task_id"] = known.get(parent) if parent else f"{DRIVER_TASK}{row['job_id']}"
    return rows + [earlier for row in rows for earlier in _earlier_attempts(row)]


def _earlier_attempts(row: dict[str, m.Cell]) -> list[dict[str, m.Cell]]:
    """The attempts before the one that the row is of: all have failed. Of them a record knows only how many there were."""
    last = int(str(row["attempt_number"]))
    facts = {**row, "state": "FAILED", **dict.fromkeys(_OF_ONE_ATTEMPT)}
    return [{**facts, "attempt_number": attempt} for attempt in range(max(0, last - EARLIER_ATTEMPTS_MAX), last)]


def _lost_with(lost: Mapping[int, Runner], item: dict[str, Any], task_id: bytes) -> Runner | None:
    """The process whose death has failed the task."""
    return lost.get(int.from_bytes(task_id[:8], "big")) if item["is_error"] else None


def _state_of(item: dict[str, Any]) -> str:
    if item["is_error"]:
        return "FAILED"
    if item["state"] == _QUEUED and item["kind"] in _CALLS:
        return "PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY"
    return _STATE_NAMES.get(item["state"], "NIL")


def objects(drivers: Container[int]) -> list[dict[str, m.Cell]]:
    """Values that somebody refers to. ``drivers``: the pids of those."""
    rows: list[dict[str, m.Cell]] = []
    for item in _kernel.list_records(SCAN_MAX):
        if not item["is_code"] and (item["kind"] in _TASK_KINDS or item["kind"] in (_OBJECT, _RETURN)):
            state = "FAILED" if item["is_error"] else _STATE_NAMES.get(item["state"], "NIL")
            row: dict[str, m.Cell] = {
                "object_id": item["ref"].hex(),
                "object_size": item["size_bytes"],
                "reference_count": item["count"],
                "pid": item["owner_pid"],
                "type": "DRIVER" if item["owner_pid"] in drivers else "WORKER",
                "ip": LOOPBACK,
                "attempt_number": item["attempt"],
                "where": ("INLINE", "SHARED_MEMORY", "SPILLED")[min(item["where"], 2)],
                "task_status": state,
            }
            rows.append(row)
    return rows


def _task_row(item: dict[str, Any], task_id: bytes, state: str, node_id: str, runner: Runner | None) -> dict[str, m.Cell]:
    return {
        "task_id": task_id.hex(),
        "name": item["name"],
        "state": state,
        "type": _TASK_KINDS[item["kind"]],
        "attempt_number": item["attempt"],
        "owner_pid": item["owner_pid"],
        "queue": item.get("queue", 0),
        "queued_ns": item["queued_ns"],
        "started_ns": item["started_ns"],
        "finished_ns": item["finished_ns"],
        "creation_time_ms": _epoch_ms(item["queued_ns"]),
        "start_time_ms": _epoch_ms(item["started_ns"]),
        "end_time_ms": _epoch_ms(item["finished_ns"]),
        "func_or_class_name": item["name"],
        "language": "PYTHON",
        "job_id": task_id[JOB_ID_AT:].hex(),
        "actor_id": task_id[ACTOR_ID_AT:].hex() if item["kind"] in _CALLS else None,
        "node_id": node_id if item["started_ns"] else None,
        "worker_id": runner.worker_id if runner else None,
        "worker_pid": runner.pid if runner else None,
    }


def _epoch_ms(monotonic_ns: int) -> int | None:
    return (monotonic_ns + time.time_ns() - time.monotonic_ns()) // 1_000_000 if monotonic_ns else None


def job(
    number: int, pid: int, entrypoint: str, namespace: str, began_ms: int, ended_ms: int, address: str
) -> dict[str, m.Cell]:
    """The row of a driver. One that has ended counts as succeeded, as in Ray: how its program ended is not known."""
    job_id = number.to_bytes(4, "big").hex()
    return {
        "job_id": job_id,
        "type": "DRIVER",
        "status": "SUCCEEDED" if ended_ms else "RUNNING",
        "entrypoint": entrypoint,
        "start_time": began_ms,
        "end_time": ended_ms or None,
        "driver_info": {"id": job_id, "node_ip_address": address, "pid": str(pid)},
        "metadata": {"namespace": namespace},
    }
