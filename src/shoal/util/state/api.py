"""The functions of the state API. Arguments and errors are those of StateApiClient, where they are described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.util.state.client import DEFAULT_LIMIT, DEFAULT_TIMEOUT_S, StateApiClient
from shoal.util.state.filters import Filter
from shoal.util.state.rows import (
    ActorState,
    ClusterEventState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    TaskState,
    WorkerState,
)


def list_actors(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[ActorState]:
    """Actors, dead ones included."""
    return StateApiClient(address).list("actors", filters, limit, timeout, detail, raise_on_missing_output)


def list_tasks(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[TaskState]:
    """Task attempts: a retried task has several rows."""
    return StateApiClient(address).list("tasks", filters, limit, timeout, detail, raise_on_missing_output)


def list_objects(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[ObjectState]:
    """References to objects."""
    return StateApiClient(address).list("objects", filters, limit, timeout, detail, raise_on_missing_output)


def list_nodes(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[NodeState]:
    """Nodes of the cluster."""
    return StateApiClient(address).list("nodes", filters, limit, timeout, detail, raise_on_missing_output)


def list_workers(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[WorkerState]:
    """Worker processes and drivers."""
    return StateApiClient(address).list("workers", filters, limit, timeout, detail, raise_on_missing_output)


def list_jobs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[JobState]:
    """Jobs: drivers and submitted ones."""
    return StateApiClient(address).list("jobs", filters, limit, timeout, detail, raise_on_missing_output)


def list_placement_groups(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[PlacementGroupState]:
    """Placement groups, removed ones included."""
    return StateApiClient(address).list("placement_groups", filters, limit, timeout, detail, raise_on_missing_output)


def list_runtime_envs(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[RuntimeEnvState]:
    """Runtime environments that were set up."""
    return StateApiClient(address).list("runtime_envs", filters, limit, timeout, detail, raise_on_missing_output)


def list_cluster_events(
    address: str | None = None,
    filters: Sequence[Filter] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: float = DEFAULT_TIMEOUT_S,
    detail: bool = False,
    raise_on_missing_output: bool = True,
) -> list[ClusterEventState]:
    """Notable events of the cluster."""
    return StateApiClient(address).list("cluster_events", filters, limit, timeout, detail, raise_on_missing_output)


def get_actor(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> ActorState | None:
    """The actor with this id and its details; None when there is none."""
    found = StateApiClient(address).get("actors", id, timeout)
    return found[0] if found else None


def get_node(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> NodeState | None:
    """The node with this id and its details; None when there is none."""
    found = StateApiClient(address).get("nodes", id, timeout)
    return found[0] if found else None


def get_worker(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> WorkerState | None:
    """The worker with this id and its details; None when there is none."""
    found = StateApiClient(address).get("workers", id, timeout)
    return found[0] if found else None


def get_job(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> JobState | None:
    """The job with this id and its details; None when there is none."""
    found = StateApiClient(address).get("jobs", id, timeout)
    return found[0] if found else None


def get_placement_group(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> PlacementGroupState | None:
    """The placement group with this id and its details; None when there is none."""
    found = StateApiClient(address).get("placement_groups", id, timeout)
    return found[0] if found else None


def get_task(id: Any, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> TaskState | list[TaskState] | None:
    """The task with this id, or of this ObjectRef: one row, a list of rows when it was retried, None when there is none."""
    task_id = id if isinstance(id, str) else id.task_id().hex()
    found = StateApiClient(address).get("tasks", task_id, timeout)
    if not found:
        return None
    return found[0] if len(found) == 1 else found


def get_objects(id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> list[ObjectState]:
    """All references to the object with this id."""
    return StateApiClient(address).get("objects", id, timeout)


def summarize_tasks(
    address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, raise_on_missing_output: bool = True
) -> dict[str, dict[str, Any]]:
    """Task attempts by function and state, as ``{"cluster": counts}``."""
    return StateApiClient(address).summary("tasks", timeout, raise_on_missing_output)


def summarize_actors(
    address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, raise_on_missing_output: bool = True
) -> dict[str, dict[str, Any]]:
    """Actors by class and state, as ``{"cluster": counts}``."""
    return StateApiClient(address).summary("actors", timeout, raise_on_missing_output)


def summarize_objects(
    address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, raise_on_missing_output: bool = True
) -> dict[str, dict[str, Any]]:
    """References to objects by call site, as ``{"cluster": counts}``."""
    return StateApiClient(address).summary("objects", timeout, raise_on_missing_output)
