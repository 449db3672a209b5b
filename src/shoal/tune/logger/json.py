"""result.json and params.json."""

from __future__ import annotations

import os
from typing import Any, TextIO

import cloudpickle

from shoal.tune.logger.logger import LoggerCallback, to_json
from shoal.tune.result import EXPR_PARAM_FILE, EXPR_PARAM_PICKLE_FILE, EXPR_RESULT_FILE


class JsonLoggerCallback(LoggerCallback):
    """One line of JSON for each result in ``result.json``; the configuration in ``params.json`` and ``params.pkl``."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, TextIO] = {}
        self._written: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        os.makedirs(trial.local_path, exist_ok=True)
        self._write_config(trial)
        self._files[trial.trial_id] = open(os.path.join(trial.local_path, EXPR_RESULT_FILE), "a", encoding="utf-8")  # noqa: SIM115

    def _write_config(self, trial: Any) -> None:
        self._written[trial.trial_id] = trial.config
        with open(os.path.join(trial.local_path, EXPR_PARAM_FILE), "w", encoding="utf-8") as file:
            file.write(to_json(trial.config))
        with open(os.path.join(trial.local_path, EXPR_PARAM_PICKLE_FILE), "wb") as file:
            cloudpickle.dump(trial.config, file)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        if self._written.get(trial.trial_id) is not trial.config:
            self._write_config(trial)  # a scheduler has changed it
        file = self._files[trial.trial_id]
        file.write(to_json(result) + "\n")
        file.flush()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._written.pop(trial.trial_id, None)
        file = self._files.pop(trial.trial_id, None)
        if file is not None:
            file.close()
