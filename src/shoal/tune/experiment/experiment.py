"""What is to be run: a trainable, its space and its policies, under a name."""

from __future__ import annotations

import copy
import datetime
import os
from collections.abc import Callable
from typing import Any

from shoal.tune.error import TuneError
from shoal.tune.execution.placement_groups import PlacementGroupFactory, as_placement_group_factory
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.registry import get_trainable_cls, trainable_class_of, trainable_name_of
from shoal.tune.run_config import CheckpointConfig, SyncConfig
from shoal.tune.stopper import CombinedStopper, FunctionStopper, NoopStopper, Stopper, TimeoutStopper
from shoal.tune.storage import StorageContext


class Experiment:
    """A trainable (function, class or registered name) with its space, resources, stopping rules and place.

    Raises TuneError for a trainable that cannot be one, ValueError and TypeError for bad arguments.
    """

    def __init__(
        self,
        name: str | None,
        run: Any,
        *,
        stop: Any = None,
        time_budget_s: float | datetime.timedelta | None = None,
        config: dict[str, Any] | None = None,
        resources_per_trial: Any = None,
        num_samples: int = 1,
        storage_path: str | None = None,
        storage_filesystem: Any = None,
        sync_config: SyncConfig | None = None,
        checkpoint_config: CheckpointConfig | dict[str, Any] | None = None,
        trial_name_creator: Callable[[Any], str] | None = None,
        trial_dirname_creator: Callable[[Any], str] | None = None,
        log_to_file: bool | str | tuple[str, str] = False,
        export_formats: list[str] | None = None,
        max_failures: int = 0,
        restore: str | None = None,
    ) -> None:
        if isinstance(checkpoint_config, dict):
            checkpoint_config = CheckpointConfig(**checkpoint_config)
        self.checkpoint_config = checkpoint_config or CheckpointConfig()
        if config is not None and not isinstance(config, dict):
            raise ValueError(f"config must be a dictionary, but got config={config!r} of type {type(config).__name__}")
        self.trainable = trainable_class_of(run)
        self.trainable_name = trainable_name_of(run)
        self._check_checkpoint_config()
        self.name = name or f"{self.trainable_name}{_dated_suffix()}"
        self.stopping_criterion, self.stopper = _stopping_rules(stop, time_budget_s)
        self.storage = StorageContext(storage_path, self.name, storage_filesystem, sync_config=sync_config)
        self._resources = resources_per_trial
        self._folders: set[str] = set()
        self._last_resources = PlacementGroupFactory([{"CPU": 1}])
        self._trial_name_creator = trial_name_creator
        self._trial_dirname_creator = trial_dirname_creator
        self.spec: dict[str, Any] = {
            "run": self.trainable_name,
            "stop": self.stopping_criterion,
            "time_budget_s": time_budget_s,
            "config": config or {},
            "resources_per_trial": resources_per_trial,
            "num_samples": num_samples,
            "checkpoint_config": self.checkpoint_config,
            "log_to_file": _checked_log_files(log_to_file),
            "export_formats": export_formats or [],
            "max_failures": max_failures,
            "restore": restore,
        }

    @classmethod
    def from_json(cls, name: str, spec: dict[str, Any]) -> Experiment:
        """An experiment of a dictionary of the constructor's arguments; raises TuneError for unknown ones."""
        if "run" not in spec:
            raise TuneError(f"experiment {name!r} needs a trainable: its key 'run' is missing in {sorted(spec)}")
        arguments = copy.copy(spec)
        run = arguments.pop("run")
        if "env" in arguments:
            arguments["config"] = {**arguments.get("config", {}), "env": arguments.pop("env")}
        try:
            return cls(name, run, **arguments)
        except TypeError as error:
            raise TuneError(f"experiment {name!r} has arguments that are not known: {error}") from error

    def _check_checkpoint_config(self) -> None:
        if not self.trainable.is_function:
            return
        for name in ("checkpoint_frequency", "checkpoint_at_end"):
            value = getattr(self.checkpoint_config, name)
            if value:
                raise ValueError(
                    f"{name} is for class trainables; a function reports checkpoints itself "
                    f"(tune.report(metrics, checkpoint=...)), but got {name}={value!r}"
                )

    def make_trial(self, config: dict[str, Any], evaluated_params: dict[str, Any], trial_id: str, experiment_tag: str) -> Trial:
        """A trial of this experiment."""
        resources = as_placement_group_factory(self._resources, config)
        if resources is None:
            resources = self.trainable.default_resource_request(config)
        trial = Trial(
            self.trainable_name,
            config=config,
            trial_id=trial_id,
            storage=self.storage,
            evaluated_params=evaluated_params,
            experiment_tag=experiment_tag,
            placement_group_factory=self._shared(resources or PlacementGroupFactory([{"CPU": 1}])),
            checkpoint_config=self.checkpoint_config,
            stopping_criterion=self.stopping_criterion,
            max_failures=self.spec["max_failures"],
            log_to_file=self.spec["log_to_file"],
            is_function=self.trainable.is_function,
            trial_name_creator=self._trial_name_creator,
            trial_dirname_creator=self._trial_dirname_creator,
            restore_path=self.spec["restore"],
        )
        folder = str(trial.storage.trial_dir_name)
        if folder in self._folders:
            trial.storage = self.storage.for_trial(f"{folder}_{trial_id}")
        self._folders.add(str(trial.storage.trial_dir_name))
        return trial

    def renew_resources(self, trial: Trial) -> None:
        """Lets a trial that goes on ask for the ``resources_per_trial`` of this run, where it has any."""
        resources = as_placement_group_factory(self._resources, trial.config)
        if resources is not None:
            trial.placement_group_factory = self._shared(resources)

    def _shared(self, resources: PlacementGroupFactory) -> PlacementGroupFactory:
        """One object for equal requests: comparing ten thousand trials is then comparing identities."""
        if resources != self._last_resources:
            self._last_resources = resources
        return self._last_resources

    @property
    def path(self) -> str:
        return self.storage.experiment_fs_path

    @property
    def local_path(self) -> str:
        return self.storage.experiment_driver_staging_path

    @property
    def run_identifier(self) -> str:
        return self.trainable_name

    @property
    def remote_trainable_cls(self) -> Any:
        return get_trainable_cls(self.trainable_name)

    @property
    def public_spec(self) -> dict[str, Any]:
        return {key: value for key, value in self.spec.items() if key in ("stop", "config", "num_samples", "time_budget_s")}


def _dated_suffix() -> str:
    if os.environ.get("TUNE_DISABLE_DATED_SUBDIR") == "1":
        return ""
    return datetime.datetime.now().strftime("_%Y-%m-%d_%H-%M-%S")


def _stopping_rules(stop: Any, time_budget_s: Any) -> tuple[dict[str, Any], Stopper]:
    thresholds: dict[str, Any] = {}
    stoppers: list[Stopper] = []
    if isinstance(stop, dict):
        thresholds = flatten_dict(stop)
        if "time_budget_s" in thresholds:
            time_budget_s = thresholds.pop("time_budget_s") if time_budget_s is None else time_budget_s
    elif isinstance(stop, (list, tuple)):
        if not all(isinstance(one, Stopper) for one in stop):
            raise ValueError(f"a list for stop must hold Stoppers only, but got stop={stop!r}")
        stoppers.extend(stop)
    elif isinstance(stop, Stopper):
        stoppers.append(stop)
    elif callable(stop):
        if not FunctionStopper.is_valid_function(stop):
            raise TuneError(f"a stop function must take (trial_id, result), but got stop={stop!r}")
        stoppers.append(FunctionStopper(stop))
    elif stop is not None:
        raise ValueError(f"stop must be a dictionary, a function or a Stopper, but got stop={stop!r}")
    if time_budget_s is not None:
        stoppers.append(TimeoutStopper(time_budget_s))
    if len(stoppers) > 1:
        return thresholds, CombinedStopper(*stoppers)
    return thresholds, stoppers[0] if stoppers else NoopStopper()


def _checked_log_files(log_to_file: Any) -> tuple[str | None, str | None]:
    """Names of the files for stdout and stderr."""
    if log_to_file is True:
        return "stdout", "stderr"
    if not log_to_file:
        return None, None
    if isinstance(log_to_file, str):
        return log_to_file, log_to_file
    if isinstance(log_to_file, (list, tuple)) and len(log_to_file) == 2:
        return log_to_file[0], log_to_file[1]
    raise ValueError(f"log_to_file must be a bool, a name, or a pair of names, but got log_to_file={log_to_file!r}")


def _convert_to_experiment_list(experiments: Any) -> list[Experiment]:
    """A list of experiments from None, one, a list, or a dictionary of specifications by name; raises TuneError for the
    rest."""
    if experiments is None:
        return []
    if isinstance(experiments, Experiment):
        return [experiments]
    if isinstance(experiments, dict):
        return [
            spec if isinstance(spec, Experiment) else Experiment.from_json(name, spec) for name, spec in experiments.items()
        ]
    if isinstance(experiments, (list, tuple)) and all(isinstance(one, Experiment) for one in experiments):
        return list(experiments)
    raise TuneError(f"experiments must be an Experiment, a list of them, or a dictionary, but got {experiments!r}")
