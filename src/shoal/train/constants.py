"""Constants that Ray's programs import from ``train``."""

from shoal.tune.result import CHECKPOINT_DIR_NAME, DEFAULT_STORAGE_PATH, TIME_THIS_ITER_S, TRAINING_ITERATION

__all__ = ["CHECKPOINT_DIR_NAME", "DEFAULT_STORAGE_PATH", "TIME_THIS_ITER_S", "TRAINING_ITERATION"]
