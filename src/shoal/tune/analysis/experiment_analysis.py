"""Questions about the trials of an experiment."""

from __future__ import annotations

import json
import math
import os
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.mode import check_mode
from shoal.tune.result import CONFIG, EXPR_RESULT_FILE, TRAINING_ITERATION
from shoal.tune.storage import local_filesystem

_SCOPES = ("last", "all", "avg", "last-5-avg", "last-10-avg")


class ExperimentAnalysis:
    """The trials of the experiment at ``experiment_checkpoint_path``; read from its log when ``trials`` is not given.

    ``default_metric`` and ``default_mode`` are what methods use that are not given others.
    """

    def __init__(
        self,
        experiment_checkpoint_path: str | os.PathLike[str],
        *,
        storage_filesystem: Any = None,
        trials: list[Trial] | None = None,
        default_metric: str | None = None,
        default_mode: str | None = None,
    ) -> None:
        check_mode(default_mode)
        self.default_metric = default_metric
        self.default_mode = default_mode
        self._path = os.fspath(experiment_checkpoint_path)
        self._filesystem = storage_filesystem
        self.trials: list[Trial] | None = trials if trials is not None else self._read_trials()

    def _read_trials(self) -> list[Trial]:
        from shoal.tune.execution.experiment_log import read_trials
        from shoal.tune.experiment.experiment import Experiment

        parent, name = os.path.split(self._path.rstrip("/"))
        experiment = Experiment(name, lambda config: None, storage_path=parent, storage_filesystem=self._filesystem)
        experiment.storage.fetch_experiment()
        return read_trials(experiment)

    # -- the best
    @property
    def best_trial(self) -> Trial:
        """By the default metric; the properties raise ValueError when there is none."""
        self._require_defaults("best_trial")
        trial = self.get_best_trial()
        if trial is None:
            raise ValueError(f"no trial has reported {self.default_metric!r}; reported were {self.reported_metrics()}")
        return trial

    @property
    def best_config(self) -> dict[str, Any]:
        return self.best_trial.config

    @property
    def best_result(self) -> dict[str, Any]:
        return self.best_trial.last_result

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        return self.get_best_checkpoint(self.best_trial)

    @property
    def best_logdir(self) -> str:
        return self.best_trial.local_path

    @property
    def best_dataframe(self) -> Any:
        return self.trial_dataframe(self.best_trial)

    @property
    def best_result_df(self) -> Any:
        """The last result of the best trial as a pandas DataFrame of one row, indexed by ``trial_id``."""
        return _frame_of([self.best_result])

    def _require_defaults(self, what: str) -> None:
        if not self.default_metric or not self.default_mode:
            raise ValueError(
                f"{what} needs a metric and a mode: pass them to tune.run (or use get_{what}(metric, mode)), "
                f"but got metric={self.default_metric!r}, mode={self.default_mode!r}"
            )

    def _metric_and_mode(self, metric: str | None, mode: str | None) -> tuple[str, str]:
        metric = metric or self.default_metric
        mode = check_mode(mode or self.default_mode)
        if not metric:
            raise ValueError("a metric is needed when the run had none, but got metric=None")
        if not mode:
            raise ValueError("a mode ('min' or 'max') is needed when the run had none, but got mode=None")
        return metric, mode

    def get_best_trial(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> Trial | None:
        """The trial with the best ``metric``; None when no trial has it. ``scope``: see ``ResultGrid.get_best_result``."""
        metric, mode = self._metric_and_mode(metric, mode)
        if scope not in _SCOPES:
            raise ValueError(f"scope must be one of {_SCOPES}, but got scope={scope!r}")
        best, best_score = None, 0.0
        for trial in self.trials or []:
            score = trial.metrics.get(metric, mode if scope == "all" else scope)
            if score is None or (filter_nan_and_inf and not math.isfinite(score)):
                continue
            if best is None or (score > best_score if mode == "max" else score < best_score):
                best, best_score = trial, score
        return best

    def get_best_config(self, metric: str | None = None, mode: str | None = None, scope: str = "last") -> dict[str, Any] | None:
        trial = self.get_best_trial(metric, mode, scope)
        return trial.config if trial is not None else None

    def get_best_logdir(self, metric: str | None = None, mode: str | None = None, scope: str = "last") -> str | None:
        trial = self.get_best_trial(metric, mode, scope)
        return trial.local_path if trial is not None else None

    def get_best_checkpoint(self, trial: Trial, metric: str | None = None, mode: str | None = None) -> Checkpoint | None:
        """The kept checkpoint of ``trial`` with the best metric (default: training_iteration)."""
        metric = metric or self.default_metric or TRAINING_ITERATION
        return trial.checkpoints.best(metric, check_mode(mode or self.default_mode or "max", required=True))

    def get_trial_checkpoints_paths(self, trial: Trial, metric: str | None = None) -> list[tuple[str, Any]]:
        name = metric or self.default_metric or TRAINING_ITERATION
        return [(checkpoint.path, metrics.get(name)) for checkpoint, metrics in trial.get_trial_checkpoints()]

    def get_last_checkpoint(
        self, trial: Trial | None = None, metric: str = TRAINING_ITERATION, mode: str = "max"
    ) -> Checkpoint | None:
        """The latest checkpoint of ``trial``, or else of the best one by ``metric`` (default: the one that got furthest)."""
        trial = trial or self.get_best_trial(metric, mode)
        return trial.checkpoint if trial is not None else None

    # -- all
    @property
    def experiment_path(self) -> str:
        return self._path

    @property
    def filesystem(self) -> Any:
        return self._filesystem if self._filesystem is not None else local_filesystem()

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The last result of each trial, by its id."""
        return {trial.trial_id: trial.last_result for trial in self.trials or []}

    @property
    def results_df(self) -> Any:
        """The last results as a pandas DataFrame, one row for each trial, indexed by ``trial_id``. TUNE_RESULT_DELIM stands
        between the names of nested values (default ``/``)."""
        return _frame_of([{**result, CONFIG: result.get(CONFIG, {})} for result in self.results.values()])

    def reported_metrics(self) -> list[str]:
        names = {name for trial in self.trials or [] for name in trial.metric_analysis}
        return sorted(names)

    def dataframe(self, metric: str | None = None, mode: str | None = None) -> Any:
        """One row for each trial that has reported: its last result, or the one with the best ``metric``. Needs pandas."""
        import pandas as pd

        if metric is None and mode is not None:
            raise ValueError(f"a metric is needed with mode={mode!r}, but got metric=None")
        if metric is not None and check_mode(mode or self.default_mode) is None:
            raise ValueError(f"a mode ('min' or 'max') is needed with metric={metric!r}, but got mode=None")
        rows = []
        for trial in self.trials or []:
            result = self._chosen_result(trial, metric, mode or self.default_mode)
            if result is None:
                continue
            row = flatten_dict({key: value for key, value in result.items() if key != CONFIG})
            row.update({f"config/{key}": value for key, value in flatten_dict(trial.config).items()})
            row["logdir"] = trial.local_path
            rows.append(row)
        return pd.DataFrame.from_records(rows)

    def _chosen_result(self, trial: Trial, metric: str | None, mode: str | None) -> dict[str, Any] | None:
        if metric is None:
            return trial.last_result or None
        best = None
        for result in self.trial_results(trial):
            value = flatten_dict(result).get(metric)
            if isinstance(value, (int, float)) and (best is None or (value > best[0] if mode == "max" else value < best[0])):
                best = (value, result)
        return best[1] if best else None

    def trial_results(self, trial: Trial) -> list[dict[str, Any]]:
        """All results of ``trial``, from its ``result.json``; [] when it has reported nothing."""
        file = os.path.join(trial.local_path, EXPR_RESULT_FILE)
        if not os.path.exists(file):
            return []
        with open(file, encoding="utf-8") as opened:
            return [json.loads(line) for line in opened if line.endswith("\n") and line.strip()]

    def trial_dataframe(self, trial: Trial) -> Any:
        import pandas as pd

        return pd.DataFrame.from_records([flatten_dict(result) for result in self.trial_results(trial)])

    @property
    def trial_dataframes(self) -> dict[str, Any]:
        """All results of each trial, by its id."""
        return {trial.trial_id: self.trial_dataframe(trial) for trial in self.trials or []}

    fetch_trial_dataframes = trial_dataframes

    def get_all_configs(self, prefix: bool = False) -> dict[str, dict[str, Any]]:
        """The configuration of each trial, by its id; with ``prefix`` flat, each name after ``config/``."""
        configs = {trial.trial_id: trial.config for trial in self.trials or []}
        return {name: flatten_dict({CONFIG: config}) for name, config in configs.items()} if prefix else configs

    def stats(self) -> dict[str, Any]:
        return {"path": self._path, "trials": len(self.trials or [])}

    def runner_data(self) -> dict[str, Any]:
        return {"trials": [str(trial) for trial in self.trials or []]}


def _frame_of(results: list[dict[str, Any]]) -> Any:
    import pandas as pd

    delimiter = os.environ.get("TUNE_RESULT_DELIM", "/")
    frame = pd.DataFrame.from_records([flatten_dict(result, delimiter=delimiter) for result in results])
    return frame.set_index("trial_id") if "trial_id" in frame else frame
