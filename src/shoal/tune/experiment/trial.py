"""One configuration and what became of it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import TuneError
from shoal.tune.execution.placement_groups import PlacementGroupFactory
from shoal.tune.experiment.checkpoint_manager import CheckpointManager
from shoal.tune.experiment.metric_history import MetricHistory
from shoal.tune.flatten import LEAF_TYPES
from shoal.tune.result import (
    CHECKPOINT_PREFIX,
    CONFIG,
    EXPERIMENT_TAG,
    EXPR_ERROR_FILE,
    EXPR_ERROR_PICKLE_FILE,
    TRIAL_ID,
)
from shoal.tune.run_config import CheckpointConfig
from shoal.tune.storage import StorageContext


class ExportFormat:
    """Names for ``export_formats``; a trainable may know others."""

    CHECKPOINT = "checkpoint"
    MODEL = "model"
    ONNX = "onnx"
    H5 = "h5"

    @staticmethod
    def validate(formats: list[str]) -> None:
        """Strips the names in ``formats`` and makes them lower-case; raises TuneError for one that is not known."""
        known = (ExportFormat.CHECKPOINT, ExportFormat.MODEL, ExportFormat.ONNX, ExportFormat.H5)
        formats[:] = [name.strip().lower() for name in formats]
        for name in formats:
            if name not in known:
                raise TuneError(f"Unsupported import/export format: it must be among {known}, but got {name!r}")


class Trial:
    """One configuration of an experiment: PENDING, RUNNING, PAUSED, then TERMINATED or ERROR.

    Only the controller changes trials; schedulers do so through its methods.
    """

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"

    def __init__(
        self,
        trainable_name: str,
        *,
        config: dict[str, Any] | None = None,
        trial_id: str,
        storage: StorageContext,
        evaluated_params: dict[str, Any] | None = None,
        experiment_tag: str = "",
        placement_group_factory: PlacementGroupFactory | None = None,
        checkpoint_config: CheckpointConfig | None = None,
        stopping_criterion: dict[str, Any] | None = None,
        max_failures: int = 0,
        log_to_file: Any = False,
        is_function: bool = True,
        trial_name_creator: Callable[[Any], str] | None = None,
        trial_dirname_creator: Callable[[Any], str] | None = None,
        restore_path: str | None = None,
    ) -> None:
        self.trainable_name = trainable_name
        self.trial_id = trial_id
        self.config = config if config is not None else {}
        self.evaluated_params = evaluated_params or {}
        self.experiment_tag = experiment_tag
        self.placement_group_factory = placement_group_factory or PlacementGroupFactory([{"CPU": 1}])
        self.checkpoint_config = checkpoint_config or CheckpointConfig()
        self.stopping_criterion = stopping_criterion or {}
        self.max_failures = max_failures
        self.log_to_file = log_to_file
        self.is_function = is_function
        self.status = Trial.PENDING
        self.num_failures = 0
        self.num_restore_failures = 0
        self.last_result: dict[str, Any] = {}
        self.start_time_s: float | None = None
        self.error: BaseException | None = None
        self.error_text: str | None = None
        self.metrics = MetricHistory()
        self.checkpoints = CheckpointManager(self.checkpoint_config)
        self.restore_path = restore_path
        self.custom_trial_name = trial_name_creator(self) if trial_name_creator else None
        self.storage = storage.for_trial(self._folder_name(storage, trial_dirname_creator))

    def _folder_name(self, storage: StorageContext, creator: Callable[[Any], str] | None) -> str:
        if creator is not None:
            name = creator(self)
            if os.sep in name:
                raise ValueError(f"trial_dirname_creator must return a name without {os.sep!r}, but got {name!r}")
            if os.path.exists(os.path.join(storage.experiment_driver_staging_path, name)):
                name = f"{name}_{self.trial_id}"
            return name
        longest = int(os.environ.get("TUNE_MAX_LEN_IDENTIFIER", "130"))
        name = f"{self}_{self.experiment_tag}" if self.experiment_tag else str(self)
        cleaned = re.sub(r"[/\\ ]", "_", name)[:longest]
        return f"{cleaned}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"

    @property
    def local_path(self) -> str:
        return self.storage.trial_local_path

    @property
    def path(self) -> str:
        return self.storage.trial_fs_path

    @property
    def logdir(self) -> str:
        return self.local_path

    @property
    def local_experiment_path(self) -> str:
        return self.storage.experiment_driver_staging_path

    @property
    def relative_logdir(self) -> str:
        return str(self.storage.trial_dir_name)

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """For each numeric metric: max, min, avg, last, last-5-avg, last-10-avg."""
        return self.metrics.as_dict()

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest one."""
        latest = self.checkpoints.latest
        return latest[0] if latest else None

    def has_checkpoint(self) -> bool:
        return self.checkpoint is not None

    def get_trial_checkpoints(self) -> list[tuple[Checkpoint, dict[str, Any]]]:
        return self.checkpoints.kept

    @property
    def error_file(self) -> str | None:
        file = os.path.join(self.local_path, EXPR_ERROR_FILE)
        return file if self.error_text is not None and os.path.exists(file) else None

    @property
    def pickled_error_file(self) -> str | None:
        file = os.path.join(self.local_path, EXPR_ERROR_PICKLE_FILE)
        return file if self.error_text is not None and os.path.exists(file) else None

    def get_pickled_error(self) -> BaseException | None:
        return self.error

    def get_error(self) -> BaseException | None:
        return self.error

    def is_finished(self) -> bool:
        return self.status in (Trial.TERMINATED, Trial.ERROR)

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config

    def set_experiment_tag(self, experiment_tag: str) -> None:
        self.experiment_tag = experiment_tag

    def set_status(self, status: str) -> None:
        self.status = status

    def settle(self, like: Trial | None = None) -> None:
        """Makes an ended trial small: its last result shares the configuration, the id and the tag with the trial, the names
        with all results, and what is the same there (the host, the date) with the last result of ``like``."""
        known = {TRIAL_ID: self.trial_id, EXPERIMENT_TAG: self.experiment_tag, CONFIG: self.config}
        earlier = like.last_result if like is not None else {}
        settled: dict[str, Any] = {}
        for name, value in self.last_result.items():
            if name in known and _is_same(value, known[name]):
                value = known[name]
            elif type(value) in (str, int) and type(earlier.get(name)) is type(value) and earlier[name] == value:
                value = earlier[name]
            settled[sys.intern(name) if type(name) is str else name] = value
        self.last_result = settled

    def next_checkpoint_name(self) -> str:
        return f"{CHECKPOINT_PREFIX}{self.checkpoints.next_index:06d}"

    def should_stop(self, result: dict[str, Any]) -> bool:
        """Whether the flat ``result`` is done, or reaches a threshold of the ``stop`` dictionary."""
        if result.get("done"):
            return True
        return any(name in result and result[name] >= threshold for name, threshold in self.stopping_criterion.items())

    @property
    def runtime_s(self) -> float:
        return float(self.last_result.get("time_total_s", 0.0))

    def __str__(self) -> str:
        return self.custom_trial_name or f"{self.trainable_name}_{self.trial_id}"

    def __repr__(self) -> str:
        return str(self)

    def __hash__(self) -> int:
        return hash(self.trial_id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and other.trial_id == self.trial_id


def _is_same(value: Any, other: Any) -> bool:
    """Whether they are equal as far as can be told without asking values of other libraries, which may answer with an array."""
    if type(value) is not type(other):
        return False
    if type(value) is dict:
        return value.keys() == other.keys() and all(_is_same(item, other[name]) for name, item in value.items())
    if type(value) in (list, tuple):
        return len(value) == len(other) and all(map(_is_same, value, other))
    return value is other or (type(value) in LEAF_TYPES and bool(value == other))
