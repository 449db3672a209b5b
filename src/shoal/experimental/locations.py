"""Where objects are."""

from __future__ import annotations

from typing import Any

import shoal
from shoal.util._control_plane import require_engine


def get_object_locations(obj_refs: list[Any], timeout_ms: int = -1) -> dict[Any, dict[str, Any]]:
    """For each ref ``{"node_ids": [...], "object_size": bytes, "did_spill": bool}``; objects that are gone are left out.

    ``node_ids`` names no node, and ``object_size`` is None, while the value does not exist. ``timeout_ms``: how long to wait for
    the values first (-1: not at all needed, since this node knows its objects). Raises RuntimeError without a session.
    """
    if not shoal.is_initialized():
        raise RuntimeError("get_object_locations() needs a session: call shoal.init() first")
    if timeout_ms < -1:
        raise ValueError(f"timeout_ms must be >= 0, or -1, but got timeout_ms={timeout_ms}")
    engine = require_engine()
    found = {ref: engine.request("object_locations", ref=ref) for ref in obj_refs}
    return {ref: dict(location) for ref, location in found.items() if location is not None}


def get_local_object_locations(obj_refs: list[Any]) -> dict[Any, dict[str, Any]]:
    """``get_object_locations`` from what this process knows, without asking anybody."""
    return get_object_locations(obj_refs)
