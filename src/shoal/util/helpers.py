"""The name under which Ray's programs import ``as_completed`` and ``map_unordered``."""

from __future__ import annotations

from shoal.util.completion import as_completed, map_unordered

__all__ = ["as_completed", "map_unordered"]
