"""result.json and params.json."""

from __future__ import annotations

from typing import Any, BinaryIO

import cloudpickle

from shoal.tune.logger.logger import LoggerCallback, open_among_files, to_json
from shoal.tune.result import EXPR_PARAM_FILE, EXPR_PARAM_PICKLE_FILE, EXPR_RESULT_FILE


class JsonLoggerCallback(LoggerCallback):
    """One line of JSON for each result in ``result.json``; the configuration in ``params.json`` and ``params.pkl``."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, BinaryIO] = {}
        self._written: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        self._write_config(trial)
        self._files[trial.trial_id] = open_among_files(trial, EXPR_RESULT_FILE, "ab")

    def _write_config(self, trial: Any) -> None:
        self._written[trial.trial_id] = trial.config
        with open_among_files(trial, EXPR_PARAM_FILE, "wb") as file:
            file.write(to_json(trial.config).encode())
        with open_among_files(trial, EXPR_PARAM_PICKLE_FILE, "wb") as file:
            file.write(cloudpickle.dumps(trial.config))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        if self._written.get(trial.trial_id) is not trial.config:
            self._write_config(trial)  # a scheduler has changed it
        file = self._files[trial.trial_id]
        file.write(f"{to_json(result)}\n".encode())
        file.flush()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._written.pop(trial.trial_id, None)
        file = self._files.pop(trial.trial_id, None)
        if file is not None:
            file.close()
