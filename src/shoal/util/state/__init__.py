"""What runs in the cluster: actors, tasks, objects, nodes, workers, jobs and placement groups, as rows and as counts."""

from __future__ import annotations

from shoal.util.state.api import (
    get_actor,
    get_job,
    get_node,
    get_objects,
    get_placement_group,
    get_task,
    get_worker,
    list_actors,
    list_cluster_events,
    list_jobs,
    list_nodes,
    list_objects,
    list_placement_groups,
    list_runtime_envs,
    list_tasks,
    list_workers,
    summarize_actors,
    summarize_objects,
    summarize_tasks,
)
from shoal.util.state.client import StateApiClient
from shoal.util.state.exception import RayStateApiException, ServerUnavailable
from shoal.util.state.logs import get_log, list_logs

__all__ = [
    "RayStateApiException",
    "ServerUnavailable",
    "StateApiClient",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_cluster_events",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
]
