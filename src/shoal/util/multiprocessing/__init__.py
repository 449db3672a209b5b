"""``multiprocessing.Pool`` over actors: ``from shoal.util.multiprocessing import Pool``."""

from __future__ import annotations

from multiprocessing import JoinableQueue, TimeoutError

from shoal.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
