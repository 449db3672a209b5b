"""progress.csv."""

from __future__ import annotations

import csv
import os
from typing import Any, TextIO

from shoal.tune.flatten import flatten_dict
from shoal.tune.logger.logger import LoggerCallback
from shoal.tune.result import EXPR_PROGRESS_FILE


class CSVLoggerCallback(LoggerCallback):
    """One row for each result in ``progress.csv``. The columns are those of the first result; later ones are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._files: dict[str, TextIO] = {}
        self._writers: dict[str, csv.DictWriter[str]] = {}

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        flat = {**flatten_dict({key: value for key, value in result.items() if key != "config"})}
        flat.update({f"config/{key}": value for key, value in flatten_dict(result.get("config") or {}).items()})
        writer = self._writers.get(trial.trial_id) or self._open(trial, flat)
        writer.writerow({name: flat.get(name) for name in writer.fieldnames})
        self._files[trial.trial_id].flush()

    def _open(self, trial: Any, flat: dict[str, Any]) -> csv.DictWriter[str]:
        os.makedirs(trial.local_path, exist_ok=True)
        path = os.path.join(trial.local_path, EXPR_PROGRESS_FILE)
        columns, is_new = list(flat), True
        if os.path.exists(path) and os.path.getsize(path):
            with open(path, encoding="utf-8", newline="") as earlier:
                columns, is_new = next(csv.reader(earlier), columns), False
        file = self._files[trial.trial_id] = open(path, "a", encoding="utf-8", newline="")  # noqa: SIM115
        writer = self._writers[trial.trial_id] = csv.DictWriter(file, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        return writer

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._writers.pop(trial.trial_id, None)
        file = self._files.pop(trial.trial_id, None)
        if file is not None:
            file.close()
