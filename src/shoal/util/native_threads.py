"""How many threads BLAS, OpenMP, torch and numexpr use in this process."""

from __future__ import annotations

from shoal.core.native_threads import limit_native_threads

__all__ = ["limit_native_threads"]
