"""Custom serializers for classes that pickle cannot handle, or handles slowly."""

from __future__ import annotations

from shoal.core.serialization import deregister_serializer, dumps, register_serializer

__all__ = ["deregister_serializer", "dumps", "register_serializer"]
