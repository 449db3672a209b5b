"""Weights & Biases: one run for each trial, also offline."""

from __future__ import annotations

import os
from typing import Any

from shoal.tune.flatten import flatten_dict
from shoal.tune.logger import LoggerCallback
from shoal.tune.search.extras import import_extra
from shoal.tune.trainable.session import at_trial_end, get_context

_LEFT_OUT = ("config", "done", "trial_id", "experiment_tag", "date", "hostname", "node_ip", "pid", "checkpoint_dir_name")


class WandbLoggerCallback(LoggerCallback):
    """Writes configuration and metrics of each trial to a run of ``project``; ``mode="offline"`` (among ``kwargs``, which go to
    ``wandb.init``) keeps everything in the trial's folder. Raises ImportError without wandb.

    ``excludes`` leaves metrics out; ``log_config`` also logs the configuration with each result; ``upload_checkpoints`` stores
    checkpoints as artifacts. The key comes from ``api_key``, ``api_key_file`` or WANDB_API_KEY.
    """

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: list[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._wandb = import_extra("wandb", "WandbLoggerCallback")
        _set_key(api_key, api_key_file)
        self._project = project or os.environ.get("WANDB_PROJECT_NAME")
        self._group = group or os.environ.get("WANDB_GROUP_NAME")
        self._excludes = {*_LEFT_OUT, *(excludes or [])} - ({"config"} if log_config else set())
        self._upload_checkpoints = upload_checkpoints
        self._arguments = kwargs
        self._runs: dict[str, Any] = {}

    def log_trial_start(self, trial: Any) -> None:
        if trial.trial_id in self._runs:
            return
        arguments: dict[str, Any] = {
            "id": trial.trial_id,
            "name": str(trial),
            "resume": "allow",
            "project": self._project,
            "group": self._group or trial.storage.experiment_dir_name,
            "dir": trial.local_path,
            "config": trial.config,
            "reinit": "create_new",
        }
        self._runs[trial.trial_id] = self._wandb.init(**{**arguments, **self._arguments})

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        flat = flatten_dict({key: value for key, value in result.items() if key not in self._excludes})
        self._runs[trial.trial_id].log(flat)

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **info: Any) -> None:
        if self._upload_checkpoints and trial.trial_id in self._runs:
            artifact = self._wandb.Artifact(name=f"checkpoint_{trial.trial_id}", type="model")
            with checkpoint.as_directory() as folder:
                artifact.add_dir(folder)
                self._runs[trial.trial_id].log_artifact(artifact)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        run = self._runs.pop(trial.trial_id, None)
        if run is not None:
            run.finish(exit_code=1 if failed else 0)


def setup_wandb(
    config: dict[str, Any] | None = None,
    api_key: str | None = None,
    api_key_file: str | None = None,
    rank_zero_only: bool = True,
    **kwargs: Any,
) -> Any:
    """Starts a run inside of a trial, named after it, and returns that run, which ends with the trial. ``kwargs`` go to
    ``wandb.init``. ``rank_zero_only`` says what the other workers of a trainer do; a trial is its only worker."""
    wandb = import_extra("wandb", "setup_wandb")
    _set_key(api_key, api_key_file)
    context = get_context()
    named = {"id": context.get_trial_id(), "name": context.get_trial_name(), "group": context.get_experiment_name()}
    run = wandb.init(config=config, **{**named, **kwargs})
    at_trial_end(lambda failed: run.finish(exit_code=int(failed)))
    return run


def _set_key(api_key: str | None, api_key_file: str | None) -> None:
    if api_key is not None and api_key_file is not None:
        raise ValueError(f"api_key and api_key_file cannot both be given, but got api_key_file={api_key_file!r} and a key")
    if api_key_file is not None:
        with open(os.path.expanduser(api_key_file), encoding="utf-8") as file:
            api_key = file.read().strip()
    if api_key is not None:
        os.environ["WANDB_API_KEY"] = api_key
