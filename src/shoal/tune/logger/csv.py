"""progress.csv."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from typing import Any, BinaryIO

from shoal.tune.flatten import flatten_dict
from shoal.tune.logger.logger import LoggerCallback, open_among_files
from shoal.tune.result import EXPR_PROGRESS_FILE


class CSVLoggerCallback(LoggerCallback):
    """One row for each result in ``progress.csv``. The columns are those of the first result; later ones are left out."""

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, tuple[BinaryIO, list[str]]] = {}  # the file and its columns

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        flat = flatten_dict({key: value for key, value in result.items() if key != "config"})
        flat.update(flatten_dict({"config": result["config"]}) if result.get("config") else {})
        head = b""
        table = self._tables.get(trial.trial_id)
        if table is None:
            file = open_among_files(trial, EXPR_PROGRESS_FILE, "ab")
            table = self._tables[trial.trial_id] = (file, _columns_there(file, trial) or list(flat))
            head = _row(table[1]) if file.tell() == 0 else b""
        file, columns = table
        file.write(head + _row(map(flat.get, columns)))
        file.flush()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        table = self._tables.pop(trial.trial_id, None)
        if table is not None:
            table[0].close()


def _columns_there(file: BinaryIO, trial: Any) -> list[str] | None:
    """The columns of a table that an earlier run has begun; None for a new file."""
    if file.tell() == 0:
        return None
    with open(os.path.join(trial.local_path, EXPR_PROGRESS_FILE), encoding="utf-8", newline="") as earlier:
        return next(csv.reader(earlier), None)


def _row(values: Iterable[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
