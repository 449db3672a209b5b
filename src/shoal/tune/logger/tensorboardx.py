"""TensorBoard event files."""

from __future__ import annotations

import importlib.util
import numbers
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.logger.logger import LoggerCallback
from shoal.tune.result import AUTO_RESULT_KEYS, TIMESTEPS_TOTAL, TRAINING_ITERATION

_LEFT_OUT = set(AUTO_RESULT_KEYS) - {TRAINING_ITERATION, "time_total_s"}


class TBXLoggerCallback(LoggerCallback):
    """Scalars under ``ray/tune/``, and the hyperparameters with the last result. Raises ImportError without tensorboardX."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_available():
            raise ImportError("TBXLoggerCallback needs tensorboardX: pip install tensorboardX")
        self._files: dict[str, Any] = {}
        self._last: dict[str, dict[str, Any]] = {}

    @staticmethod
    def is_available() -> bool:
        return importlib.util.find_spec("tensorboardX") is not None

    def log_trial_start(self, trial: Any) -> None:
        from shoal.tune.logger.event_file import EventFile

        self._files[trial.trial_id] = EventFile(trial)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        step = result.get(TIMESTEPS_TOTAL) or result[TRAINING_ITERATION]
        scalars = {}
        for name, value in flatten_dict({key: item for key, item in result.items() if key not in _LEFT_OUT}).items():
            if type(value) is not bool and isinstance(value, numbers.Real) and value == value:
                scalars[f"ray/tune/{name}"] = float(value)
        self._files[trial.trial_id].add_scalars(scalars, step)
        self._last[trial.trial_id] = scalars

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        file = self._files.pop(trial.trial_id, None)
        last = self._last.pop(trial.trial_id, {})
        if file is None:
            return
        if trial.evaluated_params and last:
            file.add_hyperparameters(trial.evaluated_params, last)
        file.close()
