"""Comet: one experiment for each trial, also offline."""

from __future__ import annotations

import os
from typing import Any

from shoal.air.integrations.result_parts import split_result, step_of
from shoal.tune.flatten import flatten_dict
from shoal.tune.logger import LoggerCallback
from shoal.tune.search.extras import import_extra

# What Comet would watch in the process, which is that of the run and not of a trial.
_QUIET = {
    "auto_metric_logging": False,
    "auto_output_logging": False,
    "auto_param_logging": False,
    "display_summary_level": 0,
    "log_code": False,
    "log_env_details": False,
    "log_git_metadata": False,
    "log_git_patch": False,
    "log_graph": False,
    "parse_args": False,
}


class CometLoggerCallback(LoggerCallback):
    """Writes configuration and metrics of each trial to a Comet experiment.

    ``online`` False writes archives into ``offline_directory`` (default: the trial's folder), which ``comet upload`` takes.
    ``save_checkpoints`` stores checkpoints as assets. Further arguments go to ``comet_ml.Experiment``. Raises ImportError
    without comet_ml.
    """

    def __init__(
        self, online: bool = True, tags: list[str] | None = None, save_checkpoints: bool = False, **experiment_kwargs: Any
    ) -> None:
        super().__init__()
        self._comet = import_extra("comet_ml", "CometLoggerCallback", package="comet-ml")
        self._online = online
        self._tags = list(tags or [])
        self._save_checkpoints = save_checkpoints
        self._arguments = experiment_kwargs
        self._experiments: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id in self._experiments:
            return
        if self._online:
            experiment = self._comet.Experiment(**{**_QUIET, **self._arguments})
        else:
            folder = {"offline_directory": os.path.abspath(trial.local_path)}
            experiment = self._comet.OfflineExperiment(**{**_QUIET, **folder, **self._arguments})
        experiment.set_name(str(trial))
        experiment.add_tags(self._tags)
        experiment.log_others({"trial_id": trial.trial_id, "experiment": trial.storage.experiment_dir_name})
        experiment.log_parameters(flatten_dict(trial.config))
        self._experiments[trial.trial_id] = experiment

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        metrics, others = split_result(result)
        self._experiments[trial.trial_id].log_metrics(metrics, step=step_of(result))
        self._experiments[trial.trial_id].log_others(others)

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        if self._save_checkpoints and trial.trial_id in self._experiments:
            with checkpoint.as_directory() as folder:
                self._experiments[trial.trial_id].log_asset_folder(folder, step=trial.last_result.get("training_iteration"))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        experiment = self._experiments.pop(trial.trial_id, None)
        if experiment is not None:
            experiment.log_other("status", "failed" if failed else "finished")
            experiment.end()
