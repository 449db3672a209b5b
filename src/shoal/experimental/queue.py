"""The former place of ``shoal.util.queue``."""

from __future__ import annotations

import warnings

from shoal.util.queue import Empty, Full, Queue

warnings.warn("shoal.experimental.queue has moved to shoal.util.queue", DeprecationWarning, stacklevel=2)

__all__ = ["Empty", "Full", "Queue"]
