"""The functions of the state API. Arguments and errors are those of StateApiClient, where they are described."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

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
    StateRow,
    TaskState,
    WorkerState,
)

Row = TypeVar("Row", bound=StateRow)


class ListRows(Generic[Row]):
    """A function that lists things of one kind."""

    def __init__(self, resource: str, row_class: type[Row], docstring: str) -> None:
        self._resource = resource
        self.__name__ = f"list_{resource}"
        self.__doc__ = docstring

    def __call__(
        self,
        address: str | None = None,
        filters: Sequence[Filter] | None = None,
        limit: int = DEFAULT_LIMIT,
        timeout: float = DEFAULT_TIMEOUT_S,
        detail: bool = False,
        raise_on_missing_output: bool = True,
    ) -> list[Row]:
        return StateApiClient(address).list(self._resource, filters, limit, timeout, detail, raise_on_missing_output)


class GetRow(Generic[Row]):
    """A function that finds the one thing of its kind that has an id."""

    def __init__(self, resource: str, row_class: type[Row]) -> None:
        self._resource = resource
        one = resource[:-1]
        self.__name__ = f"get_{one}"
        self.__doc__ = f"The {one.replace('_', ' ')} with this id and its details; None when there is none."

    def __call__(self, id: str, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> Row | None:
        found = StateApiClient(address).get(self._resource, id, timeout)
        return found[0] if found else None


class Summarize:
    """A function that counts things of one kind, as ``{"cluster": counts}``."""

    def __init__(self, resource: str, docstring: str) -> None:
        self._resource = resource
        self.__name__ = f"summarize_{resource}"
        self.__doc__ = docstring

    def __call__(
        self, address: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, raise_on_missing_output: bool = True
    ) -> dict[str, dict[str, Any]]:
        return StateApiClient(address).summary(self._resource, timeout, raise_on_missing_output)


list_actors = ListRows("actors", ActorState, "Actors, dead ones included.")
list_tasks = ListRows("tasks", TaskState, "Task attempts: a retried task has a row for each of up to 100 that came before.")
list_objects = ListRows(
    "objects", ObjectState, "Objects, and tasks that will make one; one row each, however often they are referred to."
)
list_nodes = ListRows("nodes", NodeState, "Nodes of the cluster.")
list_workers = ListRows("workers", WorkerState, "Worker processes and drivers.")
list_jobs = ListRows("jobs", JobState, "Jobs: drivers and submitted ones.")
list_placement_groups = ListRows("placement_groups", PlacementGroupState, "Placement groups, removed ones included.")
list_runtime_envs = ListRows("runtime_envs", RuntimeEnvState, "Runtime environments that were set up.")
list_cluster_events = ListRows("cluster_events", ClusterEventState, "Notable events of the cluster.")

get_actor = GetRow("actors", ActorState)
get_node = GetRow("nodes", NodeState)
get_worker = GetRow("workers", WorkerState)
get_job = GetRow("jobs", JobState)
get_placement_group = GetRow("placement_groups", PlacementGroupState)


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


summarize_tasks = Summarize("tasks", "Task attempts by function and state.")
summarize_actors = Summarize("actors", "Actors by class and state.")
summarize_objects = Summarize("objects", "References to objects by call site.")
