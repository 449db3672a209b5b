"""Runtime environments: what the processes of a job, task or actor find around them."""

from __future__ import annotations

from shoal.core.runtime_env import RuntimeEnv, RuntimeEnvConfig

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
