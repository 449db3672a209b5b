"""Where objects are."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import shoal
from shoal.exceptions import GetTimeoutError
from shoal.util._control_plane import require_engine

_OBJECTS_MAX = 100_000


def get_object_locations(obj_refs: list[Any], timeout_ms: int = -1) -> dict[Any, dict[str, Any]]:
    """For each ref ``{"node_ids": [...], "object_size": bytes, "did_spill": bool}``.

    ``node_ids`` is empty and ``object_size`` None while the value does not exist, and when it was freed or is an error.
    ``timeout_ms``: how long to wait for the answer (-1: as long as it takes). Raises RuntimeError without a session,
    GetTimeoutError when time is up.
    """
    if not shoal.is_initialized():
        raise RuntimeError("get_object_locations() needs a session: call shoal.init() first")
    if timeout_ms < -1:
        raise ValueError(f"timeout_ms must be >= 0, or -1, but got timeout_ms={timeout_ms}")
    known = {row["object_id"]: row for row in _rows(timeout_ms) if row["task_status"] == "FINISHED"}
    node_id = shoal.get_runtime_context().get_node_id()
    return {ref: _location(known.get(ref.hex()), node_id) for ref in obj_refs}


def get_local_object_locations(obj_refs: list[Any]) -> dict[Any, dict[str, Any]]:
    """The same, from what this node knows; a session has one node, so it knows everything."""
    return get_object_locations(obj_refs)


def _rows(timeout_ms: int) -> list[dict[str, Any]]:
    engine = require_engine()
    # Waits in a thread of its own, because the request has no time limit.
    answer: concurrent.futures.Future[list[dict[str, Any]]] = concurrent.futures.Future()

    def ask() -> None:
        try:
            answer.set_result(engine.request("list_state", resource="objects", limit=_OBJECTS_MAX))
        except Exception as error:
            answer.set_exception(error)

    if timeout_ms < 0:
        ask()
    else:
        threading.Thread(target=ask, name="object-locations", daemon=True).start()
    try:
        return answer.result(timeout_ms / 1000 if timeout_ms >= 0 else None)
    except concurrent.futures.TimeoutError as error:
        raise GetTimeoutError(f"the node did not list its objects within timeout_ms={timeout_ms}") from error


def _location(row: dict[str, Any] | None, node_id: str) -> dict[str, Any]:
    if row is None:
        return {"node_ids": [], "object_size": None, "did_spill": False}
    return {"node_ids": [node_id], "object_size": row["object_size"], "did_spill": row.get("where") == "SPILLED"}
