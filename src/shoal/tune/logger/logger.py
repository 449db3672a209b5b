"""The base of all loggers."""

from __future__ import annotations

import json
import os
from typing import Any, BinaryIO

from shoal.tune.callback import Callback


class LoggerCallback(Callback):
    """Writes what trials report. Subclasses define ``log_trial_*``; a trial is started at its first sign of life."""

    def __init__(self) -> None:
        self._started: set[str] = set()

    def log_trial_start(self, trial: Any) -> None:
        """A trial begins, or goes on."""

    def log_trial_restore(self, trial: Any) -> None:
        """A trial goes on from a checkpoint."""

    def log_trial_save(self, trial: Any) -> None:
        """A checkpoint was asked for."""

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A trial has reported."""

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A trial has ended."""

    def _ensure_started(self, trial: Any) -> None:
        # Subclasses of users may not call super().__init__.
        started = self.__dict__.setdefault("_started", set())
        if trial.trial_id not in started:
            started.add(trial.trial_id)
            self.log_trial_start(trial)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._ensure_started(trial)

    def on_trial_restore(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.log_trial_restore(trial)

    def on_trial_save(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.log_trial_save(trial)

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:
        self._ensure_started(trial)
        self.log_trial_result(iteration, trial, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, failed=True)

    def _end(self, trial: Any, failed: bool) -> None:
        self.log_trial_end(trial, failed=failed)
        self.__dict__.setdefault("_started", set()).discard(trial.trial_id)


def open_among_files(trial: Any, name: str, mode: str) -> BinaryIO:
    """The file ``name`` of the trial. Its folder is there once the trial was started by a run, else it is made."""
    folder = trial.local_path
    try:
        return open(f"{folder}/{name}", mode)  # type: ignore[return-value]
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        return open(f"{folder}/{name}", mode)  # type: ignore[return-value]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_json") and not isinstance(value, type):
        return value.to_json()
    return str(value)


_ENCODER = json.JSONEncoder(default=_plain)


def to_json(value: Any) -> str:
    """JSON of ``value``; numpy values become plain ones, what JSON cannot hold becomes its text."""
    return _ENCODER.encode(value)
