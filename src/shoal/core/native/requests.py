"""The requests of the public API that go to the control plane, by name."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import context, messages
from shoal.core.native.calls import UNTOLD
from shoal.core.native.control import RequestFailed
from shoal.exceptions import RaySystemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.native.engine import NativeEngine

STATE_LIMIT = 10_000


def _address_info(engine: NativeEngine) -> dict[str, Any]:
    return engine.node.address_info()


def _nodes(engine: NativeEngine) -> list[dict[str, Any]]:
    answer = engine.control.request(messages.Nodes())
    assert isinstance(answer, messages.Rows)
    return [_node_row(engine, row) for row in answer.rows]


def _node_row(engine: NativeEngine, row: dict[str, Any]) -> dict[str, Any]:
    """A node under the names that programs for Ray ask for. A node of one machine has no ports: they are 0."""
    info = engine.node.address_info()
    ports = ("NodeManagerPort", "ObjectManagerPort", "MetricsExportPort", "MetricsAgentPort", "RuntimeEnvAgentPort")
    return {
        "NodeID": row["node_id"],
        "Alive": row["alive"],
        "NodeManagerAddress": info["node_ip_address"],
        "NodeManagerHostname": socket.gethostname(),
        **dict.fromkeys(ports, 0),
        "ObjectStoreSocketName": info["object_store_address"],
        "RayletSocketName": info["raylet_socket_name"],
        "NodeName": engine.node.facts.get("node_name") or info["node_ip_address"],
        "DeathReason": 0,
        "DeathReasonMessage": "",
        "alive": row["alive"],
        "Resources": dict(row["resources"]),
        "Labels": dict(row["labels"]),
    }


def _amounts(message: messages.Message) -> Callable[[NativeEngine], dict[str, float]]:
    def ask(engine: NativeEngine) -> dict[str, float]:
        answer = engine.control.request(message)
        assert isinstance(answer, messages.Amounts)
        return dict(answer.resources)

    return ask


def _current_actor(_engine: NativeEngine) -> Any:
    own_state = context.here().own_state
    assert own_state is not None
    return own_state()


def _actor_should_exit(_engine: NativeEngine) -> None:
    place = context.here()
    place.should_exit = True
    place.on_exit_requested()


def _object_facts(engine: NativeEngine, ref: Any) -> dict[str, Any]:
    return {"owner_address": f"{engine.node.address}:{_kernel.record_pid(ref.record)}".encode(), "call_site": ""}


def _timeline(_engine: NativeEngine) -> list[dict[str, Any]]:
    """Chrome trace events of the executions that are under way, or remembered."""
    events = []
    for row in [*_kernel.list_records(STATE_LIMIT * 10), *_kernel.list_past_tasks(STATE_LIMIT)]:
        if not row["started_ns"] or row["name"].startswith(UNTOLD):
            continue
        end_ns = row["finished_ns"] or row["started_ns"]
        events.append(
            {
                "cat": "task",
                "name": row["name"],
                "ph": "X",
                "pid": os.uname().nodename,
                "tid": f"task:{row['task_id' if 'task_id' in row else 'ref'].hex()[:16]}",
                "ts": row["started_ns"] / 1000,
                "dur": (end_ns - row["started_ns"]) / 1000,
                "args": {"attempt": row["attempt"], "failed": row["is_error"]},
            }
        )
    return events


def _kv(message: Callable[..., messages.Message], answer_field: str) -> Callable[..., Any]:
    def ask(engine: NativeEngine, **fields: Any) -> Any:
        return getattr(engine.control.request(message(**fields)), answer_field)

    return ask


def _list_state(engine: NativeEngine, resource: str, limit: int = STATE_LIMIT) -> list[dict[str, Any]]:
    answer = engine.control.request(messages.ListState(kind=resource, limit=limit))
    assert isinstance(answer, messages.Rows)
    rows = [dict(row) for row in answer.rows]
    if resource == "tasks":
        from shoal.core.native.task_errors import add_errors  # most programs never ask

        add_errors(rows)
    return rows


def _group_facts(group: messages.GroupInfo) -> dict[str, Any]:
    return {
        "id": group.group_id,
        "name": group.name,
        "namespace": group.namespace,
        "bundles": [dict(bundle) for bundle in group.bundles],
        "strategy": group.strategy,
        "state": group.state,
        "reason": group.reason,
    }


def _placement_group_create(engine: NativeEngine, **fields: Any) -> bytes:
    group_id = os.urandom(14) + engine.job_id
    lifetime = fields.get("lifetime")
    request = messages.CreatePlacementGroup(
        group_id=group_id,
        bundles=[dict(bundle) for bundle in fields["bundles"]],
        strategy=fields.get("strategy") or "PACK",
        name=fields.get("name") or "",
        namespace=engine.namespace,
        detached=lifetime == "detached",
        bundle_label_selectors=[dict(each) for each in fields.get("bundle_label_selector") or []],
    )
    try:
        engine.control.request(request)
    except RequestFailed as failure:
        raise ValueError(str(failure)) from failure
    return group_id


def _groups(engine: NativeEngine, group_id: bytes | None) -> list[messages.GroupInfo]:
    answer = engine.control.request(messages.PlacementGroupTable(group_id=group_id))
    assert isinstance(answer, messages.Groups)
    return answer.groups


def _placement_group(engine: NativeEngine, id: bytes) -> dict[str, Any]:
    found = _groups(engine, id)
    if not found:
        raise ValueError(f"there is no placement group {id.hex()}")
    return _group_facts(found[0])


def _placement_group_named(engine: NativeEngine, name: str) -> dict[str, Any] | None:
    try:
        answer = engine.control.request(messages.NamedPlacementGroup(name=name, namespace=engine.namespace))
    except RequestFailed as failure:
        if failure.kind == "not_found":
            return None
        raise
    assert isinstance(answer, messages.GroupInfo)
    return _group_facts(answer)


def _placement_group_remove(engine: NativeEngine, id: bytes) -> None:
    try:
        engine.control.request(messages.RemovePlacementGroup(group_id=id))
    except RequestFailed as failure:
        if failure.kind != "not_found":  # it is no more, as was asked
            raise


def _placement_group_table(engine: NativeEngine, id: bytes | None) -> dict[str, Any]:
    rows = {group.group_id.hex(): _table_row(engine, group) for group in _groups(engine, id)}
    return rows if id is None else next(iter(rows.values()), {})


def _table_row(engine: NativeEngine, group: messages.GroupInfo) -> dict[str, Any]:
    return {
        "placement_group_id": group.group_id.hex(),
        "name": group.name,
        "bundles": dict(enumerate(group.bundles)),
        "bundles_to_node_id": dict.fromkeys(
            range(len(group.bundles)), engine.node.node_id.hex() if group.state == "CREATED" else ""
        ),
        "strategy": group.strategy,
        "state": group.state,
        "stats": _scheduling_stats(group),
    }


def _scheduling_stats(group: messages.GroupInfo) -> dict[str, Any]:
    """Times are 0 until it is placed, and never quite 0 afterwards: what the daemon does at once takes no time by its clock."""
    latency_ms = max(group.placed_s * 1000, 0.001) if group.state == "CREATED" else group.placed_s * 1000
    waits = "INFEASIBLE" if group.reason else "NO_RESOURCES"
    return {
        "end_to_end_creation_latency_ms": latency_ms,
        "scheduling_latency_ms": latency_ms,
        "scheduling_attempt": 1,
        "highest_retry_delay_ms": 0.0,
        "scheduling_state": {"CREATED": "FINISHED", "REMOVED": "REMOVED"}.get(group.state, waits),
        "reason": group.reason,
    }


def _placement_group_wait(engine: NativeEngine, id: bytes, timeout_s: float | None = None) -> bool:
    try:
        engine.control.request(messages.WaitPlacementGroup(group_id=id), timeout_s)
    except TimeoutError:
        return False
    except RequestFailed as failure:
        if failure.kind in ("removed", "infeasible", "not_found"):
            return False
        raise RaySystemError(str(failure)) from failure
    return True


REQUESTS: dict[str, Callable[..., Any]] = {
    "address_info": _address_info,
    "nodes": _nodes,
    "cluster_resources": _amounts(messages.ClusterResources()),
    "available_resources": _amounts(messages.AvailableResources()),
    "current_actor": _current_actor,
    "actor_should_exit": _actor_should_exit,
    "object_facts": _object_facts,
    "timeline": _timeline,
    "kv_put": _kv(messages.KeyValuePut, "value"),
    "kv_get": _kv(messages.KeyValueGet, "value"),
    "kv_delete": _kv(messages.KeyValueDelete, "value"),
    "kv_list": _kv(messages.KeyValueList, "keys"),
    "kv_exists": _kv(messages.KeyValueExists, "value"),
    "list_state": _list_state,
    "placement_group": _placement_group,
    "placement_group_create": _placement_group_create,
    "placement_group_named": _placement_group_named,
    "placement_group_remove": _placement_group_remove,
    "placement_group_table": _placement_group_table,
    "placement_group_wait": _placement_group_wait,
}
