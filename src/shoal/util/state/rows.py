"""The rows of the state API, one class for each kind of thing; the fields are its columns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

MEGABYTE = 1024**2


def column(*, filterable: bool = True, detail: bool = False) -> Any:
    """A column that may be None. ``detail``: only filled when details are asked for."""
    return dataclasses.field(default=None, metadata={"filterable": filterable, "detail": detail})


def detail_column() -> Any:
    """A column that is only filled when details are asked for, and that cannot be filtered by."""
    return column(filterable=False, detail=True)


@dataclass
class StateRow:
    """A row. Columns are attributes and keys; what is not known is None."""

    ID_COLUMN: ClassVar[str] = ""

    @classmethod
    def columns(cls, detail: bool = True) -> list[str]:
        """The names of the columns, with or without those of detail."""
        return [field.name for field in dataclasses.fields(cls) if detail or not field.metadata.get("detail")]

    @classmethod
    def filterable_columns(cls) -> list[str]:
        return [field.name for field in dataclasses.fields(cls) if field.metadata.get("filterable")]

    @classmethod
    def from_source(cls, values: dict[str, Any], detail: bool) -> Any:
        """A row of what the node reports; columns of detail are None unless asked for."""
        return cls(**{name: values.get(name) for name in cls.columns(detail)})

    def asdict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def get(self, name: str, default: Any = None) -> Any:
        return getattr(self, name, default)

    def __getitem__(self, name: str) -> Any:
        if name not in self.columns():
            raise KeyError(name)
        return getattr(self, name)


@dataclass
class ActorState(StateRow):
    ID_COLUMN: ClassVar[str] = "actor_id"

    actor_id: str = column()
    class_name: str = column()
    state: str = column()
    """DEPENDENCIES_UNREADY, PENDING_CREATION, ALIVE, RESTARTING or DEAD."""
    job_id: str = column()
    name: str | None = column()
    node_id: str | None = column()
    pid: int | None = column()
    ray_namespace: str | None = column()
    serialized_runtime_env: str | None = detail_column()
    required_resources: dict[str, float] | None = detail_column()
    death_cause: dict[str, Any] | None = detail_column()
    is_detached: bool | None = detail_column()
    placement_group_id: str | None = column(detail=True)
    repr_name: str | None = column(detail=True)
    num_restarts: int | None = detail_column()
    label_selector: dict[str, str] | None = detail_column()


@dataclass
class TaskState(StateRow):
    """One attempt of a task: a task that was retried has several rows."""

    ID_COLUMN: ClassVar[str] = "task_id"

    task_id: str = column()
    attempt_number: int = column()
    name: str = column()
    state: str = column()
    """PENDING_ARGS_AVAIL, PENDING_NODE_ASSIGNMENT, SUBMITTED_TO_WORKER, RUNNING, FINISHED, FAILED, ..."""
    job_id: str = column()
    actor_id: str | None = column()
    type: str = column()
    """NORMAL_TASK, ACTOR_CREATION_TASK, ACTOR_TASK or DRIVER_TASK."""
    func_or_class_name: str = column()
    parent_task_id: str | None = column()
    node_id: str | None = column()
    worker_id: str | None = column()
    worker_pid: int | None = column()
    error_type: str | None = column()
    language: str | None = column(detail=True)
    required_resources: dict[str, float] | None = detail_column()
    runtime_env_info: dict[str, Any] | None = detail_column()
    placement_group_id: str | None = column(detail=True)
    events: list[dict[str, Any]] | None = detail_column()
    creation_time_ms: int | None = detail_column()
    start_time_ms: int | None = detail_column()
    end_time_ms: int | None = detail_column()
    task_log_info: dict[str, Any] | None = detail_column()
    error_message: str | None = detail_column()
    label_selector: dict[str, str] | None = detail_column()


@dataclass
class ObjectState(StateRow):
    ID_COLUMN: ClassVar[str] = "object_id"

    object_id: str = column()
    object_size: int = column()
    """In bytes; -1 while it is not known."""
    task_status: str = column()
    attempt_number: int = column()
    reference_type: str = column()
    call_site: str = column()
    type: str = column()
    pid: int = column()
    ip: str = column()


@dataclass
class NodeState(StateRow):
    ID_COLUMN: ClassVar[str] = "node_id"

    node_id: str = column()
    node_ip: str = column()
    is_head_node: bool = column()
    state: str = column()
    """ALIVE or DEAD."""
    state_message: str | None = column(filterable=False)
    node_name: str = column()
    resources_total: dict[str, float] = column(filterable=False)
    labels: dict[str, str] = column(filterable=False)
    start_time_ms: int | None = detail_column()
    end_time_ms: int | None = detail_column()


@dataclass
class WorkerState(StateRow):
    ID_COLUMN: ClassVar[str] = "worker_id"

    worker_id: str = column()
    is_alive: bool = column()
    worker_type: str = column()
    """WORKER or DRIVER."""
    exit_type: str | None = column()
    node_id: str = column()
    ip: str = column()
    pid: int = column()
    exit_detail: str | None = detail_column()
    start_time_ms: int | None = detail_column()
    end_time_ms: int | None = detail_column()


@dataclass
class JobState(StateRow):
    ID_COLUMN: ClassVar[str] = "job_id"

    job_id: str = column()
    submission_id: str | None = column()
    type: str = column()
    """DRIVER or SUBMISSION."""
    status: str = column()
    """Of a driver: RUNNING, or SUCCEEDED once it has hung up. Else PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    entrypoint: str | None = column()
    message: str | None = column(filterable=False)
    error_type: str | None = column()
    start_time: int | None = detail_column()
    end_time: int | None = detail_column()
    metadata: dict[str, str] | None = detail_column()
    runtime_env: dict[str, Any] | None = detail_column()
    driver_info: dict[str, Any] | None = detail_column()


@dataclass
class PlacementGroupState(StateRow):
    ID_COLUMN: ClassVar[str] = "placement_group_id"

    placement_group_id: str = column()
    name: str = column()
    creator_job_id: str = column()
    state: str = column()
    """PENDING, PREPARED, CREATED, RESCHEDULING or REMOVED."""
    bundles: list[dict[str, Any]] | None = detail_column()
    is_detached: bool | None = column(detail=True)
    stats: dict[str, Any] | None = detail_column()


@dataclass
class RuntimeEnvState(StateRow):
    runtime_env: dict[str, Any] = column()
    success: bool | None = column()
    """None while it is being installed."""
    creation_time_ms: float | None = column(filterable=False)
    node_id: str = column()
    ref_cnt: int | None = detail_column()
    """Processes that use it."""
    error: str | None = column(detail=True)
    size_bytes: int | None = detail_column()
    """Of what was installed for it."""


@dataclass
class ClusterEventState(StateRow):
    ID_COLUMN: ClassVar[str] = "event_id"

    severity: str = column()
    time: str = column(filterable=False)
    source_type: str = column()
    message: str = column(filterable=False)
    event_id: str = column()
    custom_fields: dict[str, Any] | None = detail_column()


ROW_CLASSES: dict[str, type[StateRow]] = {
    "actors": ActorState,
    "cluster_events": ClusterEventState,
    "jobs": JobState,
    "nodes": NodeState,
    "objects": ObjectState,
    "placement_groups": PlacementGroupState,
    "runtime_envs": RuntimeEnvState,
    "tasks": TaskState,
    "workers": WorkerState,
}
"""Every resource of the state API and the class of its rows."""
