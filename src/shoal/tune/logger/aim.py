"""Aim: one run for each trial, in a local repository or on a server."""

from __future__ import annotations

from typing import Any

from shoal.air.integrations.result_parts import split_result, step_of
from shoal.tune.flatten import flatten_dict
from shoal.tune.logger.logger import LoggerCallback
from shoal.tune.search.extras import import_extra


class AimLoggerCallback(LoggerCallback):
    """Writes configuration and metrics of each trial to an Aim run.

    ``repo``: a folder or a server's address (default: the experiment's folder). ``experiment_name``: default the run's.
    ``metrics``: only these are tracked. Further arguments go to ``aim.Run``. Raises ImportError without aim.
    """

    def __init__(
        self,
        repo: Any = None,
        experiment_name: str | None = None,
        metrics: list[str] | None = None,
        **aim_run_kwargs: Any,
    ) -> None:
        super().__init__()
        if metrics is not None and not metrics:
            raise ValueError("metrics must name at least one metric, or be None for all, but got metrics=[]")
        self._aim = import_extra("aim", "AimLoggerCallback")
        self._repo = repo
        self._experiment_name = experiment_name
        self._metrics = metrics
        self._arguments = aim_run_kwargs
        self._runs: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id in self._runs:
            return
        run = self._aim.Run(
            repo=self._repo or trial.storage.experiment_driver_staging_path,
            experiment=self._experiment_name or trial.storage.experiment_dir_name,
            **{"system_tracking_interval": None, "log_system_params": False, **self._arguments},
        )
        run.name = str(trial)
        run["trial_id"] = trial.trial_id
        run["hparams"] = {name: value if _is_plain(value) else str(value) for name, value in flatten_dict(trial.config).items()}
        self._runs[trial.trial_id] = run

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        numbers, _ = split_result(result)
        for name, value in numbers.items():
            if self._metrics is None or name in self._metrics:
                self._runs[trial.trial_id].track(value, name=name, step=step_of(result))

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run = self._runs.pop(trial.trial_id, None)
        if run is not None:
            run["status"] = "failed" if failed else "finished"
            run.close()


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))
