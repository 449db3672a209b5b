"""Lists of what there is now, for the state API and the command line."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import environments, record_rows
from shoal.core.native import messages as m
from shoal.core.native.node import LOOPBACK, worker_id_of
from shoal.node import exit_status
from shoal.node.resources import to_amounts

if TYPE_CHECKING:
    from shoal.node.actors import Actor
    from shoal.node.daemon import Daemon
    from shoal.node.processes import Process

# Beside the fields of a runtime environment: what the worker must know besides.
_NOT_FIELDS = (environments.CAPTURED_GROUP, environments.JOB, environments.LOCAL_FILES)


_ENDED = ("FINISHED", "FAILED")
_CREATION_STATES = {
    "DEPENDENCIES_UNREADY": "PENDING_ARGS_AVAIL",
    "PENDING_CREATION": "PENDING_NODE_ASSIGNMENT",
    "RESTARTING": "PENDING_NODE_ASSIGNMENT",
    "ALIVE": "FINISHED",
}
JOB_ID_BYTES = 4


class StateLists:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def rows(self, kind: str, limit: int) -> m.Answer:
        if kind not in m.STATE_KINDS:
            return m.Failure("invalid", f"kind must be one of {m.STATE_KINDS}, but got kind={kind!r}")
        rows: list[dict[str, m.Cell]] = getattr(self, f"_{kind}")()
        return m.Rows(rows[:limit], len(rows))

    def _tasks(self) -> list[dict[str, m.Cell]]:
        runners = {}
        for process in self._daemon.brain.processes:
            if process.slot:
                running = _kernel.slot_state(process.slot).running
                runners[running] = record_rows.Runner(worker_id(process), process.pid)
        actors = {
            actor.actor_id: record_rows.Runner(worker_id(actor.process), actor.process.pid)
            for actor in self._daemon.brain.actors.living()
            if actor.process is not None
        }
        lost = {
            uid: record_rows.Runner(worker.worker_id, worker.pid)
            for worker in self._daemon.journal.ended_workers()
            for uid in worker.tasks
        }
        rows = record_rows.tasks(self._daemon.brain.node_id, runners, actors, lost)
        self._add_deaths(rows)
        for row in rows:
            if row["state"] not in _ENDED and row["type"] == "NORMAL_TASK":
                self._add_request(row)
        everybody = [*self._daemon.brain.actors.living(), *self._daemon.brain.actors.dead()]
        return rows + [self._creation_row(actor) for actor in everybody]

    def _add_deaths(self, rows: list[dict[str, m.Cell]]) -> None:
        """Why those have failed that ended with their worker; of one that was ended for a cancellation, nobody knows which."""
        ends = {worker.worker_id: worker for worker in self._daemon.journal.ended_workers() if worker.tasks}
        for row in rows:
            worker = ends.get(str(row["worker_id"])) if row["state"] == "FAILED" else None
            if worker is not None and worker.exit_type != exit_status.USER_EXIT:
                row["error_type"] = "ACTOR_DIED" if worker.is_actor else "WORKER_DIED"
                row["error_message"] = f"{worker.exit_type}: {worker.exit_detail}"

    def _add_request(self, row: dict[str, m.Cell]) -> None:
        """What the waiting or running task was submitted with: its queue is of its scheduling class alone."""
        info = self._daemon.brain.leases.queues.get(int(str(row["queue"])))
        scheduling_class = self._daemon.brain.classes.get(info.seen.class_id) if info is not None else None
        if scheduling_class is not None:
            row["required_resources"] = dict(to_amounts(scheduling_class.amounts))
            row["placement_group_id"] = scheduling_class.group_id.hex() or None
            row["runtime_env_info"] = {"serialized_runtime_env": _environment_text(scheduling_class.environment)}

    def _creation_row(self, actor: Actor) -> dict[str, m.Cell]:
        ask, process = actor.request, actor.process
        creation = self._daemon.brain.classes[ask.creation_class_id]
        state = _CREATION_STATES.get(actor.state, "FINISHED" if actor.constructed else "FAILED")
        if state == "PENDING_NODE_ASSIGNMENT" and process is not None:
            state = "RUNNING"
        return {
            "task_id": "f" * 16 + ask.actor_id.hex(),
            "name": f"{ask.class_name}.__init__",
            "func_or_class_name": f"{ask.class_name}.__init__",
            "state": state,
            "type": "ACTOR_CREATION_TASK",
            "attempt_number": actor.restarts,
            "job_id": _job_of(ask.actor_id),
            "actor_id": ask.actor_id.hex(),
            "language": "PYTHON",
            "node_id": self._daemon.brain.node_id,
            "worker_id": worker_id(process) if process else None,
            "worker_pid": process.pid if process else None,
            "required_resources": dict(to_amounts(creation.amounts)),
            "placement_group_id": creation.group_id.hex() or None,
            "runtime_env_info": {"serialized_runtime_env": _environment_text(creation.environment)},
            "error_message": actor.death.message if actor.death and state == "FAILED" else None,
        }

    def _objects(self) -> list[dict[str, m.Cell]]:
        return record_rows.objects({job.pid for job in self._daemon.journal.jobs()})

    def _actors(self) -> list[dict[str, m.Cell]]:
        actors = self._daemon.brain.actors
        rows: list[dict[str, m.Cell]] = []
        for actor in [*actors.living(), *actors.dead()]:
            info = actor.info()
            running = self._daemon.brain.classes[actor.request.running_class_id]
            row: dict[str, m.Cell] = {
                "actor_id": info.actor_id.hex(),
                "class_name": info.class_name,
                "state": info.state,
                "name": info.name,
                "ray_namespace": info.namespace,
                "pid": info.pid or actor.pid,
                "num_restarts": info.restarts,
                "is_detached": info.detached,
                "death_cause": info.death_cause,
                "node_id": self._daemon.brain.node_id,
                "job_id": _job_of(info.actor_id),
                "required_resources": dict(to_amounts(running.amounts)),
                "placement_group_id": running.group_id.hex() or None,
                "serialized_runtime_env": _environment_text(running.environment),
            }
            rows.append(row)
        return rows

    def _workers(self) -> list[dict[str, m.Cell]]:
        """Those that run, drivers, and the latest of both that have ended."""
        journal = self._daemon.journal
        rows: list[dict[str, m.Cell]] = []
        for process in self._daemon.brain.processes:
            row = self._worker_row(worker_id(process), process.slot, process.pid, journal.began_ms(process.slot))
            row |= {"is_actor": not process.is_worker, "is_busy": bool(process.running), "is_blocked": process.blocked}
            rows.append(row)
        for worker in journal.ended_workers():
            row = self._worker_row(worker.worker_id, worker.slot, worker.pid, worker.began_ms, worker.ended_ms)
            row |= {"exit_type": worker.exit_type, "exit_detail": worker.exit_detail, "is_actor": worker.is_actor}
            rows.append(row)
        for job in journal.jobs():
            driver_id = worker_id_of(job.slot, job.pid).hex()
            row = self._worker_row(driver_id, job.slot, job.pid, job.began_ms, job.ended_ms)
            if job.ended_ms:
                row |= {"exit_type": exit_status.USER_EXIT, "exit_detail": "its program called ray.shutdown() or has ended"}
            rows.append({**row, "worker_type": "DRIVER"})
        return rows

    def _worker_row(self, identity: str, slot: int, pid: int, began_ms: int, ended_ms: int = 0) -> dict[str, m.Cell]:
        return {
            "worker_id": identity,
            "slot": slot,
            "pid": pid,
            "is_alive": not ended_ms,
            "worker_type": "WORKER",
            "node_id": self._daemon.brain.node_id,
            "ip": LOOPBACK,
            "start_time_ms": began_ms,
            "end_time_ms": ended_ms,
        }

    def _nodes(self) -> list[dict[str, m.Cell]]:
        brain = self._daemon.brain
        return [
            {
                "node_id": brain.node_id,
                "state": "ALIVE",
                "is_head_node": True,
                "resources_total": dict(brain.resources),
                "labels": dict(brain.labels),
                "node_name": LOOPBACK,
                "start_time_ms": self._daemon.journal.node_began_ms,
                "end_time_ms": 0,
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
                "bundles": json.dumps([dict(bundle) for bundle in group.request.bundles]),
                "is_detached": group.request.detached,
                "creator_job_id": _job_of(group.request.group_id),
                "node_id": self._daemon.brain.node_id if group.state == "CREATED" else None,
            }
            rows.append(row)
        return rows

    def _jobs(self) -> list[dict[str, m.Cell]]:
        return [
            record_rows.job(each.number, each.pid, each.entrypoint, each.namespace, each.began_ms, each.ended_ms, LOOPBACK)
            for each in self._daemon.journal.jobs()
        ]

    def _runtime_envs(self) -> list[dict[str, m.Cell]]:
        """Those that work was submitted with, and what else the cache has."""
        brain, preparations = self._daemon.brain, self._daemon.preparations
        users = Counter(process.environment for process in brain.processes)
        cached = preparations.cached()
        rows: list[dict[str, m.Cell]] = []
        for text in sorted(brain.classes.environments()):
            fields = _fields(text)
            if not fields:
                continue
            success, error = brain.environments.outcome(text)
            facts = cached.pop(preparations.digest_of(text) or "", {})
            rows.append(self._environment_row(fields, success, error, users[text], facts.get("size_bytes")))
        return rows + [
            self._environment_row({"cached": facts.get("label", "")}, True, "", 0, facts.get("size_bytes"))
            for facts in cached.values()
        ]

    def _environment_row(
        self, fields: dict[str, Any], success: bool | None, error: str, users: int, size_bytes: int | None
    ) -> dict[str, m.Cell]:
        return {
            "runtime_env": environments.encode(fields),
            "success": success,
            "error": error or None,
            "ref_cnt": users,
            "size_bytes": size_bytes,
            "node_id": self._daemon.brain.node_id,
        }

    def _cluster_events(self) -> list[dict[str, m.Cell]]:
        return [
            {
                "event_id": f"{event.number:016x}",
                "severity": event.severity,
                "source_type": event.source,
                "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(event.at_ms // 1000))}.{event.at_ms % 1000:03}Z",
                "message": event.message,
                "custom_fields": dict(event.facts),
            }
            for event in self._daemon.journal.events()
        ]


def _fields(text: str) -> dict[str, Any]:
    """Of a runtime environment, as the user gave them."""
    return {name: value for name, value in environments.decode(text).items() if name not in _NOT_FIELDS}


def _environment_text(text: str) -> str:
    return environments.encode(_fields(text)) or "{}" if text else "{}"


def _job_of(identity: bytes) -> str:
    return identity[-JOB_ID_BYTES:].hex()


def worker_id(process: Process) -> str:
    """As the process itself tells it."""
    return worker_id_of(process.slot, process.pid).hex()
