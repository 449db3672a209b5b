"""Run configurations, where programs for Ray 2 look for them."""

from shoal.tune.run_config import CheckpointConfig, FailureConfig, RunConfig, SyncConfig

__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig", "SyncConfig"]
