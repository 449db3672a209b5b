"""TensorBoard event files, with the formats of tensorboardX.

The files are written here, because tensorboardX's own writer starts two threads and syncs the disk three times for each trial,
which costs more than everything else that Tune does for it.
"""

from __future__ import annotations

import importlib.util
import numbers
import os
import platform
import re
import struct
import time
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.logger.logger import LoggerCallback
from shoal.tune.result import AUTO_RESULT_KEYS, TIMESTEPS_TOTAL, TRAINING_ITERATION

_LEFT_OUT = set(AUTO_RESULT_KEYS) - {TRAINING_ITERATION, "time_total_s"}
_NOT_IN_A_TAG = re.compile(r"[^-/\w.]")


class TBXLoggerCallback(LoggerCallback):
    """Scalars under ``ray/tune/``, and the hyperparameters with the last result. Raises ImportError without tensorboardX."""

    def __init__(self) -> None:
        super().__init__()
        if not self.is_available():
            raise ImportError("TBXLoggerCallback needs tensorboardX: pip install tensorboardX")
        self._files: dict[str, _EventFile] = {}
        self._last: dict[str, dict[str, Any]] = {}

    @staticmethod
    def is_available() -> bool:
        return importlib.util.find_spec("tensorboardX") is not None

    def log_trial_start(self, trial: Any) -> None:
        self._files[trial.trial_id] = _EventFile(trial.local_path)

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


class _EventFile:
    """One file of TensorBoard events: records of a length, its checksum, an Event, and its checksum."""

    def __init__(self, folder: str) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._checksum = Event, masked_crc32c
        os.makedirs(folder, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{platform.node()}"
        self._file = open(os.path.join(folder, name), "ab")  # noqa: SIM115 - closed in close()
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add_scalars(self, scalars: dict[str, float], step: int) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=_NOT_IN_A_TAG.sub("_", name), simple_value=value) for name, value in scalars.items()]
        self._write(self._event(wall_time=time.time(), step=int(step), summary=Summary(value=values)))
        self._file.flush()

    def add_hyperparameters(self, parameters: dict[str, Any], metrics: dict[str, float]) -> None:
        from tensorboardX.summary import hparams

        plain = {key: value if isinstance(value, (bool, int, float, str)) else str(value) for key, value in parameters.items()}
        for summary in hparams(hparam_dict=plain, metric_dict=metrics):
            self._write(self._event(wall_time=time.time(), summary=summary))

    def _write(self, event: Any) -> None:
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + struct.pack("<I", self._checksum(length)) + data + struct.pack("<I", self._checksum(data)))

    def close(self) -> None:
        self._file.close()
