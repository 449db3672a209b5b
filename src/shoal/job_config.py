"""The configuration of a job, for ``init(job_config=...)``."""

from __future__ import annotations

from shoal.core.job_config import JobConfig

__all__ = ["JobConfig"]
