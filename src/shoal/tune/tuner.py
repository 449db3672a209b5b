"""``Tuner``: the same search as an object."""

from __future__ import annotations

import dataclasses
import os
import pickle
from typing import Any

import cloudpickle

from shoal.tune.analysis import ExperimentAnalysis
from shoal.tune.error import TuneError
from shoal.tune.execution.experiment_log import TUNER_FILE, log_files, read_trials
from shoal.tune.experiment.experiment import Experiment
from shoal.tune.flatten import merge_dicts
from shoal.tune.result_grid import ResultGrid
from shoal.tune.run_config import ResumeConfig, RunConfig, TuneConfig
from shoal.tune.storage import StorageContext, default_storage_path
from shoal.tune.tune import _run_one


class Tuner:
    """Searches ``param_space`` for the best configuration of ``trainable`` (a function of the config, or a Trainable class).

    ``fit()`` returns a ResultGrid. Failed trials do not raise (see ``ResultGrid.errors``), unless ``fail_fast="raise"``. A
    killed run goes on with ``Tuner.restore(path, trainable).fit()``.
    """

    def __init__(
        self,
        trainable: Any = None,
        *,
        param_space: dict[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
    ) -> None:
        if trainable is None:
            raise TuneError("Tuner needs a trainable, but got trainable=None")
        if param_space is not None and not isinstance(param_space, dict):
            raise ValueError(f"param_space must be a dictionary, but got param_space={param_space!r}")
        for name, value, wanted in (("tune_config", tune_config, TuneConfig), ("run_config", run_config, RunConfig)):
            if value is not None and not isinstance(value, wanted):
                raise ValueError(f"{name} must be a {wanted.__name__}, but got {name}={value!r}")
        self._trainable = trainable
        self._param_space = param_space or {}
        self._tune_config = tune_config or TuneConfig()
        self._run_config = run_config or RunConfig()
        self._resume: ResumeConfig | None = None
        self._results: ResultGrid | None = None

    @classmethod
    def restore(
        cls,
        path: str | os.PathLike[str],
        trainable: Any,
        resume_unfinished: bool = True,
        resume_errored: bool = False,
        restart_errored: bool = False,
        param_space: dict[str, Any] | None = None,
        storage_filesystem: Any = None,
        _resume_config: ResumeConfig | None = None,
    ) -> Tuner:
        """The Tuner of the experiment at ``path``; its ``fit()`` goes on where it was left. Finished trials are not run again.

        ``trainable`` must be the same as before. ``param_space`` is only for new object refs in the place of old ones. Raises
        ValueError when there is no such experiment, TuneError when it is damaged.
        """
        if resume_errored and restart_errored:
            raise ValueError("resume_errored and restart_errored cannot both be True")
        storage = _storage_of(os.fspath(path), storage_filesystem)
        if not cls.can_restore(path, storage_filesystem):
            raise ValueError(f"no experiment that can be restored at path={os.fspath(path)!r}: no file {TUNER_FILE} in it")
        storage.fetch_experiment()
        saved = _read_tuner(os.path.join(storage.experiment_driver_staging_path, TUNER_FILE))
        run_config: RunConfig = saved["run_config"]
        run_config.name = storage.experiment_dir_name
        run_config.storage_path = storage.storage_path
        run_config.storage_filesystem = storage_filesystem
        tuner = cls(
            trainable, param_space=param_space or saved["param_space"], tune_config=saved["tune_config"], run_config=run_config
        )
        tuner._resume = _resume_config or ResumeConfig(
            finished="skip",
            unfinished="resume" if resume_unfinished else "skip",
            errored="resume" if resume_errored else "restart" if restart_errored else "skip",
        )
        tuner._results = tuner._read_results()
        return tuner

    @classmethod
    def can_restore(cls, path: str | os.PathLike[str], storage_filesystem: Any = None) -> bool:
        """Whether there is an experiment at ``path``."""
        storage = _storage_of(os.fspath(path), storage_filesystem)
        if storage.remote is not None:
            return bool(storage.remote.exists(f"{storage.experiment_fs_path}/{TUNER_FILE}"))
        return os.path.exists(os.path.join(storage.experiment_fs_path, TUNER_FILE))

    def fit(self) -> ResultGrid:
        """Runs all trials and returns their results."""
        experiment = self._experiment()
        if self._resume is None:
            experiment.storage.check_writable()
            self._write_tuner(experiment)
        config = self._tune_config
        failures = self._run_config.failure_config
        trials = _run_one(
            experiment,
            metric=config.metric,
            mode=config.mode,
            search_alg=config.search_alg,
            scheduler=config.scheduler,
            fail_fast=failures.fail_fast,
            max_concurrent_trials=config.max_concurrent_trials,
            verbose=self._run_config.verbose,
            progress_reporter=self._run_config.progress_reporter,
            callbacks=self._run_config.callbacks,
            reuse_actors=config.reuse_actors,
            resume=self._resume,
            runtime_env=self._run_config.worker_runtime_env,
            change_directory=config.chdir_to_trial_dir,
        )
        self._run_config.name = experiment.name
        self._results = self._grid(experiment, trials)
        return self._results

    def get_results(self) -> ResultGrid:
        """The results of ``fit``, or, after ``restore``, those that are stored. Raises RuntimeError before ``fit``."""
        if self._results is None:
            raise RuntimeError("there are no results yet: call fit(), or Tuner.restore(path, trainable)")
        return self._results

    def _experiment(self) -> Experiment:
        run_config, config = self._run_config, self._tune_config
        space = dict(self._param_space)
        space = merge_dicts(space.pop("train_loop_config", {}), space) if "train_loop_config" in space else space
        return Experiment(
            run_config.name,
            self._trainable,
            stop=run_config.stop,
            time_budget_s=config.time_budget_s,
            config=space,
            num_samples=config.num_samples,
            storage_path=run_config.storage_path,
            storage_filesystem=run_config.storage_filesystem,
            sync_config=run_config.sync_config,
            checkpoint_config=run_config.checkpoint_config,
            log_to_file=run_config.log_to_file,
            max_failures=run_config.failure_config.max_failures,
            trial_name_creator=config.trial_name_creator,
            trial_dirname_creator=config.trial_dirname_creator,
        )

    def _grid(self, experiment: Experiment, trials: list[Any]) -> ResultGrid:
        return ResultGrid(
            ExperimentAnalysis(
                experiment.path,
                storage_filesystem=experiment.storage.remote,
                trials=trials,
                default_metric=self._tune_config.metric,
                default_mode=self._tune_config.mode,
            )
        )

    def _read_results(self) -> ResultGrid | None:
        experiment = self._experiment()
        if not log_files(experiment.local_path):
            return None
        return self._grid(experiment, read_trials(experiment))

    def _write_tuner(self, experiment: Experiment) -> None:
        path = os.path.join(experiment.local_path, TUNER_FILE)
        saved = {"param_space": self._param_space, "tune_config": self._tune_config, "run_config": self._run_config}
        with open(path + ".tmp", "wb") as file:
            try:
                cloudpickle.dump(saved, file)
            except Exception as error:
                raise TypeError(
                    f"the experiment could not be restored: {_unpicklable(saved)} cannot be pickled: {error}"
                ) from error
        os.replace(path + ".tmp", path)


def _storage_of(path: str, filesystem: Any) -> StorageContext:
    path = os.path.expanduser(path) if "://" not in path else path
    parent, _, name = path.rstrip("/").rpartition("/")
    if not parent and not path.startswith("/"):
        parent = os.getcwd() if "://" not in path else default_storage_path()
    return StorageContext(parent or "/", name, filesystem)


def _unpicklable(saved: dict[str, Any]) -> str:
    """The name of what cannot be pickled, like ``run_config.callbacks``."""
    named = {name: value for name, value in saved.items() if not dataclasses.is_dataclass(value)}
    for name, value in saved.items():
        if dataclasses.is_dataclass(value):
            named.update({f"{name}.{field.name}": getattr(value, field.name) for field in dataclasses.fields(value)})
    for name, value in named.items():
        try:
            cloudpickle.dumps(value)
        except Exception:
            return name
    return ", ".join(saved)


def _read_tuner(file: str) -> dict[str, Any]:
    try:
        with open(file, "rb") as opened:
            saved: dict[str, Any] = pickle.load(opened)
        return {key: saved[key] for key in ("param_space", "tune_config", "run_config")}
    except Exception as error:
        raise TuneError(f"the experiment is damaged: {file} cannot be read: {type(error).__name__}: {error}") from error
