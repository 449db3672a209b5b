"""MLflow: one run for each trial."""

from __future__ import annotations

import os
import time
from typing import Any

from shoal.air.integrations.result_parts import split_result, step_of
from shoal.tune.flatten import flatten_dict
from shoal.tune.logger import LoggerCallback
from shoal.tune.search.extras import import_extra
from shoal.tune.trainable.session import at_trial_end, get_context


class MLflowLoggerCallback(LoggerCallback):
    """Writes parameters and metrics of each trial to an MLflow run. ``tracking_uri`` may be a local folder (offline).

    ``save_artifact`` also stores the trial's folder. Raises ImportError without mlflow.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        registry_uri: str | None = None,
        experiment_name: str | None = None,
        tags: dict[str, Any] | None = None,
        tracking_token: str | None = None,
        save_artifact: bool = False,
        log_params_on_trial_end: bool = False,
    ) -> None:
        super().__init__()
        _set_token(tracking_token)
        self._mlflow = import_extra("mlflow", "MLflowLoggerCallback")
        self._tracking_uri = tracking_uri
        self._registry_uri = registry_uri
        self._experiment_name = experiment_name
        self._tags = tags or {}
        self._save_artifact = save_artifact
        self._parameters_at_end = log_params_on_trial_end
        self._client: Any = None
        self._runs: dict[str, str] = {}

    def setup(self, *args: Any, **kwargs: Any) -> None:
        self._client = self._mlflow.MlflowClient(tracking_uri=self._tracking_uri, registry_uri=self._registry_uri)
        name = self._experiment_name or "Default"
        found = self._client.get_experiment_by_name(name)
        self._experiment_id = found.experiment_id if found is not None else self._client.create_experiment(name)

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id not in self._runs:
            tags = {**self._tags, "trial_name": str(trial), "mlflow.runName": str(trial)}
            self._runs[trial.trial_id] = self._client.create_run(experiment_id=self._experiment_id, tags=tags).info.run_id
        if not self._parameters_at_end:
            self._log_parameters(trial)

    def _log_parameters(self, trial: Any) -> None:
        for name, value in flatten_dict(trial.config).items():
            self._client.log_param(self._runs[trial.trial_id], name.replace("/", "."), value)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        numbers, _ = split_result(result)
        now_ms, step = int(time.time() * 1000), step_of(result)
        metrics = [self._mlflow.entities.Metric(name, value, now_ms, step) for name, value in numbers.items()]
        self._client.log_batch(self._runs[trial.trial_id], metrics=metrics)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run_id = self._runs[trial.trial_id]
        if self._parameters_at_end:
            self._log_parameters(trial)
        if self._save_artifact:
            self._client.log_artifacts(run_id, trial.local_path)
        self._client.set_terminated(run_id, status="FAILED" if failed else "FINISHED")


def setup_mlflow(
    config: dict[str, Any] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    experiment_id: str | None = None,
    experiment_name: str | None = None,
    tracking_token: str | None = None,
    artifact_location: str | None = None,
    run_name: str | None = None,
    create_experiment_if_not_exists: bool = False,
    tags: dict[str, Any] | None = None,
    rank_zero_only: bool = True,
) -> Any:
    """Starts an MLflow run inside of a trial, named after it, and returns the mlflow module. The run ends with the trial.

    The run belongs to the experiment of that id or name; without both to one that is named after this run of Tune, and made if
    there is none. ``artifact_location``: where an experiment that is made keeps its files. ``rank_zero_only`` says what the
    other workers of a trainer do; a trial is its only worker. Raises ValueError for an experiment that does not exist, unless
    ``create_experiment_if_not_exists``.
    """
    mlflow = import_extra("mlflow", "setup_mlflow")
    context = get_context()
    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    if registry_uri:
        mlflow.set_registry_uri(registry_uri)
    _set_token(tracking_token)
    if experiment_id is not None and _experiment_exists(mlflow, experiment_id):
        mlflow.set_experiment(experiment_id=experiment_id)
    else:
        name = experiment_name or (None if experiment_id is not None else context.get_experiment_name() or "Default")
        create = create_experiment_if_not_exists or (experiment_name is None and experiment_id is None)
        _set_experiment(mlflow, name, experiment_id, artifact_location, create)
    mlflow.start_run(run_name=run_name or context.get_trial_name(), tags=tags)
    at_trial_end(lambda failed: mlflow.end_run("FAILED" if failed else "FINISHED"))
    if config:
        mlflow.log_params({name.replace("/", "."): value for name, value in flatten_dict(config).items()})
    return mlflow


def _set_token(tracking_token: str | None) -> None:
    if tracking_token is not None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = tracking_token


def _experiment_exists(mlflow: Any, experiment_id: str) -> bool:
    try:
        return mlflow.get_experiment(experiment_id) is not None
    except mlflow.exceptions.MlflowException:
        return False


def _set_experiment(mlflow: Any, name: str | None, experiment_id: str | None, location: str | None, create: bool) -> None:
    if name is None or (mlflow.get_experiment_by_name(name) is None and not create):
        raise ValueError(
            "the MLflow experiment must exist (or create_experiment_if_not_exists=True with a name), but got "
            f"experiment_name={name!r}, experiment_id={experiment_id!r}"
        )
    if mlflow.get_experiment_by_name(name) is None:
        mlflow.create_experiment(name, artifact_location=location)
    mlflow.set_experiment(name)
