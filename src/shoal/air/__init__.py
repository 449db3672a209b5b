"""The names of ``air`` that programs for Ray 2 import for Tune."""

from __future__ import annotations

from shoal.tune import Checkpoint, CheckpointConfig, FailureConfig, Result, RunConfig

__all__ = ["Checkpoint", "CheckpointConfig", "FailureConfig", "Result", "RunConfig"]
