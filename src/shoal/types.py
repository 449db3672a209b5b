"""Types for annotations."""

from __future__ import annotations

from shoal.core.object_ref import ObjectRef

__all__ = ["ObjectRef"]
