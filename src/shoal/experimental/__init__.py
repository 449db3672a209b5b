"""What may still change: where objects are, key-value storage, progress bars of tasks."""

from __future__ import annotations

from typing import NoReturn

from shoal.experimental.locations import get_local_object_locations, get_object_locations

__all__ = ["get_local_object_locations", "get_object_locations", "set_resource"]


def set_resource(resource_name: str, capacity: float, node_id: str | None = None) -> NoReturn:
    """Resources of a running node can't be changed: raises DeprecationWarning, as in Ray."""
    raise DeprecationWarning(
        "set_resource() does not exist any more: give resources to init(resources=...), or reserve them with placement "
        f"groups; got resource_name={resource_name!r}, capacity={capacity!r}"
    )
