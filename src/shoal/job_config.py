"""The configuration of a job, for ``init(job_config=...)``."""

from __future__ import annotations

from shoal.core.job_config import JobConfig
from shoal.core.logging_config import LoggingConfig

__all__ = ["JobConfig", "LoggingConfig"]
