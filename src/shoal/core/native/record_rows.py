"""Rows of the state lists that come from the arena's records alone: tasks and objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal import _kernel

if TYPE_CHECKING:
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
TASK_ID_BYTES = 24


def tasks() -> list[dict[str, m.Cell]]:
    """Tasks and calls: those that have a record, and the latest of those that ended."""
    rows: list[dict[str, m.Cell]] = []
    for item in _kernel.list_records(SCAN_MAX):
        if item["kind"] in _TASK_KINDS:
            state = "FAILED" if item["is_error"] else _STATE_NAMES.get(item["state"], "NIL")
            rows.append(_task_row(item, item["ref"].binary()[:TASK_ID_BYTES], state))
    past = _kernel.list_past_tasks(SCAN_MAX)
    return rows + [_task_row(item, item["task_id"], "FAILED" if item["is_error"] else "FINISHED") for item in past]


def objects() -> list[dict[str, m.Cell]]:
    """Values that somebody refers to."""
    rows: list[dict[str, m.Cell]] = []
    for item in _kernel.list_records(SCAN_MAX):
        if not item["is_code"] and (item["kind"] in _TASK_KINDS or item["kind"] in (_OBJECT, _RETURN)):
            state = "FAILED" if item["is_error"] else _STATE_NAMES.get(item["state"], "NIL")
            row: dict[str, m.Cell] = {
                "object_id": item["ref"].hex(),
                "object_size": item["size_bytes"],
                "reference_count": item["count"],
                "pid": item["owner_pid"],
                "where": ("INLINE", "SHARED_MEMORY", "SPILLED")[min(item["where"], 2)],
                "task_status": state,
            }
            rows.append(row)
    return rows


def _task_row(item: dict[str, Any], task_id: bytes, state: str) -> dict[str, m.Cell]:
    return {
        "task_id": task_id.hex(),
        "name": item["name"],
        "state": state,
        "type": _TASK_KINDS[item["kind"]],
        "attempt_number": item["attempt"],
        "owner_pid": item["owner_pid"],
        "queued_ns": item["queued_ns"],
        "started_ns": item["started_ns"],
        "finished_ns": item["finished_ns"],
    }
