"""The names of ``train`` that code inside of trials uses: ``train.report`` is ``tune.report``."""

from __future__ import annotations

from shoal.tune import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    Result,
    RunConfig,
    SyncConfig,
    get_checkpoint,
    get_context,
    report,
)
from shoal.tune.trainable.session import TrialContext as TrainContext

__all__ = [
    "Checkpoint",
    "CheckpointConfig",
    "FailureConfig",
    "Result",
    "RunConfig",
    "SyncConfig",
    "TrainContext",
    "get_checkpoint",
    "get_context",
    "report",
]
