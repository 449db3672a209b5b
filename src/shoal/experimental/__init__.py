"""What may still change: where objects are, key-value storage, progress bars of tasks."""

from __future__ import annotations

from shoal.experimental.locations import get_local_object_locations, get_object_locations

__all__ = ["get_local_object_locations", "get_object_locations"]
