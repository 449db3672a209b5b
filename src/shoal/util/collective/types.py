"""Names of backends and reductions, where programs for Ray look for them."""

from __future__ import annotations

from shoal.util.collective.backends import Backend, ReduceOp

__all__ = ["Backend", "ReduceOp"]
