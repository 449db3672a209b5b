"""What running code can learn about itself."""

from __future__ import annotations

from shoal.core.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
