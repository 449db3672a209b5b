"""Lists of what there is now, for the state API and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import messages as m

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon

KINDS = ("tasks", "actors", "objects", "workers", "nodes", "placement_groups")
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


class StateLists:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def rows(self, kind: str, limit: int) -> m.Answer:
        if kind not in KINDS:
            return m.Failure("invalid", f"kind must be one of {KINDS}, but got kind={kind!r}")
        rows: list[dict[str, m.Cell]] = getattr(self, f"_{kind}")()
        return m.Rows(rows[:limit], len(rows))

    def _tasks(self) -> list[dict[str, m.Cell]]:
        rows: list[dict[str, m.Cell]] = []
        for item in _kernel.list_records(SCAN_MAX):
            if item["kind"] in _TASK_KINDS:
                state = "FAILED" if item["is_error"] else _STATE_NAMES.get(item["state"], "NIL")
                rows.append(_task_row(item, item["ref"].binary()[:TASK_ID_BYTES], state))
        past = _kernel.list_past_tasks(SCAN_MAX)
        return rows + [_task_row(item, item["task_id"], "FAILED" if item["is_error"] else "FINISHED") for item in past]

    def _objects(self) -> list[dict[str, m.Cell]]:
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

    def _actors(self) -> list[dict[str, m.Cell]]:
        actors = self._daemon.brain.actors
        rows: list[dict[str, m.Cell]] = []
        for actor in [*actors.living(), *actors.dead()]:
            info = actor.info()
            row: dict[str, m.Cell] = {
                "actor_id": info.actor_id.hex(),
                "class_name": info.class_name,
                "state": info.state,
                "name": info.name,
                "ray_namespace": info.namespace,
                "pid": info.pid,
                "num_restarts": info.restarts,
                "is_detached": info.detached,
                "death_cause": info.death_cause,
                "node_id": self._daemon.brain.node_id,
            }
            rows.append(row)
        return rows

    def _workers(self) -> list[dict[str, m.Cell]]:
        rows: list[dict[str, m.Cell]] = []
        for process in self._daemon.brain.processes:
            row: dict[str, m.Cell] = {
                "worker_id": f"{process.slot:08x}{process.pid:08x}",
                "slot": process.slot,
                "pid": process.pid,
                "is_alive": True,
                "worker_type": "WORKER",
                "is_actor": not process.is_worker,
                "is_busy": bool(process.running),
                "is_blocked": process.blocked,
            }
            rows.append(row)
        drivers = self._daemon.brain.drivers
        rows += [{"worker_id": f"{slot:08x}", "slot": slot, "is_alive": True, "worker_type": "DRIVER"} for slot in drivers]
        return rows

    def _nodes(self) -> list[dict[str, m.Cell]]:
        brain = self._daemon.brain
        return [
            {
                "node_id": brain.node_id,
                "state": "ALIVE",
                "is_head_node": True,
                "resources_total": dict(brain.resources),
                "labels": dict(brain.labels),
            }
        ]

    def _placement_groups(self) -> list[dict[str, m.Cell]]:
        rows: list[dict[str, m.Cell]] = []
        for group in self._daemon.brain.groups.all():
            row: dict[str, m.Cell] = {
                "placement_group_id": group.request.group_id.hex(),
                "name": group.request.name,
                "state": group.state,
                "strategy": group.request.strategy,
                "bundle_count": len(group.bundles),
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
