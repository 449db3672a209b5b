"""Where the rows come from: the node's control plane."""

from __future__ import annotations

import concurrent.futures
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import shoal
from shoal.util._control_plane import current_session, require_engine
from shoal.util.node_address import get_node_ip_address
from shoal.util.state.exception import RayStateApiException, ServerUnavailable

T = TypeVar("T")

_ROWS_MAX = 10_000


def check_address(address: str | None) -> None:
    """Raises ServerUnavailable when ``address`` names another cluster than the one this process is connected to."""
    if address in (None, "auto"):
        return
    session = current_session()
    own = session.context.address_info if session is not None and session.context is not None else {}
    if address not in (own.get("address"), own.get("gcs_address")):
        raise ServerUnavailable(
            f"the state of the cluster at address={address!r} cannot be read from here: "
            f"connect with shoal.init(address={address!r})"
        )


def rows(resource: str, timeout_s: float) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a resource, at most 10,000, and whether there are more.

    Raises ServerUnavailable without a session."""
    _check_connected()
    engine = require_engine()
    found = _within(timeout_s, resource, lambda: engine.request("list_state", resource=resource, limit=_ROWS_MAX + 1))
    return [_with_derived(resource, dict(row)) for row in found[:_ROWS_MAX]], len(found) > _ROWS_MAX


def _with_derived(resource: str, row: dict[str, Any]) -> dict[str, Any]:
    """The row with the columns that follow from others."""
    if resource == "tasks":
        # A method's name has its class already.
        row.setdefault("func_or_class_name", row.get("name"))
    elif resource == "runtime_envs":
        row["runtime_env"] = json.loads(row["runtime_env"])
    elif resource == "actors":
        row["death_cause"] = _death_cause(row) if row.get("death_cause") else None
    elif resource == "placement_groups" and isinstance(row.get("bundles"), str):
        row["bundles"] = [_bundle(row, index, asked) for index, asked in enumerate(json.loads(row["bundles"]))]
    elif resource == "nodes":
        row.setdefault("node_ip", get_node_ip_address())
    return row


def _death_cause(row: dict[str, Any]) -> dict[str, Any]:
    facts = {name: row.get(name) for name in ("actor_id", "class_name", "name", "ray_namespace", "pid")}
    return {"actor_died_error_context": {"error_message": row["death_cause"], **facts}}


def _bundle(row: dict[str, Any], index: int, asked: dict[str, float]) -> dict[str, Any]:
    identity = {"placement_group_id": row["placement_group_id"], "bundle_index": index}
    return {"bundle_id": identity, "unit_resources": asked, "node_id": row.get("node_id")}


def log_folder() -> Path:
    """Where the node of this process writes its log files."""
    _check_connected()
    context = shoal.get_runtime_context()
    return Path(context.get_temp_dir()) / context.get_session_name() / "logs"


def _check_connected() -> None:
    if not shoal.is_initialized():
        raise ServerUnavailable("there is no cluster to ask: call shoal.init() first")


def _within(timeout_s: float, resource: str, ask: Callable[[], T]) -> T:
    answer: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="state-request", daemon=True).start()
    try:
        return answer.result(timeout_s)
    except concurrent.futures.TimeoutError as error:
        raise RayStateApiException(f"the node did not list its {resource} within timeout={timeout_s} s") from error
