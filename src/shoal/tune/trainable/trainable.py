"""The class form of a trainable."""

from __future__ import annotations

import os
import platform
import socket
import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import cloudpickle

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.execution.placement_groups import PlacementGroupFactory
from shoal.tune.result import (
    DONE,
    EPISODES_THIS_ITER,
    EPISODES_TOTAL,
    TIMESTEPS_THIS_ITER,
    TIMESTEPS_TOTAL,
    TRAINING_ITERATION,
)
from shoal.tune.trainable.trial_information import TrialInformation

_STATE_FILE = "_dict_checkpoint.pkl"
_COUNTERS_FILE = ".tune_metadata"


class Trainable:
    """Subclass it: ``setup(config)`` once, ``step()`` for each iteration, ``save_checkpoint``/``load_checkpoint`` for its
    state.

    ``step`` returns a dictionary of metrics; ``done=True`` in it ends the trial.
    """

    is_function = False

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        logger_creator: Callable[..., Any] | None = None,
        storage: Any = None,
        information: TrialInformation | None = None,
    ) -> None:
        if logger_creator is not None:
            raise ValueError(f"logger_creator is gone: use a LoggerCallback, but got logger_creator={logger_creator!r}")
        self.config = config or {}
        self._storage = storage
        self._information = information or TrialInformation()
        self._iteration = 0
        self._time_total_s = 0.0
        self._timesteps_total: int | None = None
        self._episodes_total: int | None = None
        self._iterations_since_restore = 0
        self._time_since_restore_s = 0.0
        self._timesteps_since_restore = 0
        self._saves = 0
        self._mark = time.monotonic()
        self.setup(dict(self.config))
        self._mark = time.monotonic()

    # -- to be defined by subclasses
    def setup(self, config: dict[str, Any]) -> None:
        """Called once before the first step."""

    def step(self) -> dict[str, Any]:
        """One iteration; returns its metrics."""
        raise NotImplementedError(f"{type(self).__name__} must define step")

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | str | None:
        """Writes the state into ``checkpoint_dir``, or returns it as a dictionary."""
        raise NotImplementedError(f"{type(self).__name__} must define save_checkpoint to be paused, cloned or checkpointed")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Takes what ``save_checkpoint`` returned: a dictionary, or else the folder."""
        raise NotImplementedError(f"{type(self).__name__} must define load_checkpoint to be restored")

    def cleanup(self) -> None:
        """Called once after the last step."""

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes over ``new_config`` so that this object can serve another trial; returns whether it did."""
        return False

    def log_result(self, result: dict[str, Any]) -> None:
        """Called with each complete result."""

    def export_model(self, export_formats: list[str] | str, export_dir: str | None = None) -> dict[str, str]:
        """Writes the model in the given formats into ``export_dir`` (default: the trial's folder); returns the path for each.
        Subclasses define this, or ``_export_model(export_formats, export_dir)``, which is given a list and a folder."""
        formats = [export_formats] if isinstance(export_formats, str) else export_formats
        return self._export_model(formats, export_dir or self.logdir or os.getcwd())

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        raise NotImplementedError(f"{type(self).__name__} must define _export_model for export_formats={export_formats}")

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
        """What a trial needs when the user does not say; None is one CPU."""
        return None

    @classmethod
    def resource_help(cls, config: dict[str, Any]) -> str:
        """Shown when a trial asks for too much."""
        return ""

    # -- for callers
    def train(self) -> dict[str, Any]:
        """One step, with the metrics that every result has."""
        metrics = self.step()
        if not isinstance(metrics, dict):
            raise ValueError(f"step must return a dictionary of metrics, but got {metrics!r} from {type(self).__name__}.step")
        result = self.complete(metrics)
        self.log_result(result)
        return result

    def complete(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """``metrics`` with counters, times and places."""
        now = time.monotonic()
        elapsed_s, self._mark = now - self._mark, now
        if "time_this_iter_s" in metrics:
            elapsed_s = metrics["time_this_iter_s"]
        self._iteration += 1
        self._iterations_since_restore += 1
        self._time_total_s += elapsed_s
        self._time_since_restore_s += elapsed_s
        result = dict(metrics)
        self._count(result)
        wall = time.time()
        automatic = {
            DONE: False,
            TRAINING_ITERATION: self._iteration,
            "trial_id": self._information.trial_id,
            "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(wall)),
            "timestamp": int(wall),
            "time_this_iter_s": elapsed_s,
            "time_total_s": self._time_total_s,
            "pid": os.getpid(),
            "hostname": platform.node(),
            "node_ip": node_address(),
            "config": self.config,
            "time_since_restore": self._time_since_restore_s,
            "iterations_since_restore": self._iterations_since_restore,
        }
        for name, value in automatic.items():
            result.setdefault(name, value)
        if self._information.experiment_tag:
            result.setdefault("experiment_tag", self._information.experiment_tag)
        return result

    def _count(self, result: dict[str, Any]) -> None:
        if result.get(TIMESTEPS_THIS_ITER) is not None:
            self._timesteps_total = (self._timesteps_total or 0) + result[TIMESTEPS_THIS_ITER]
            self._timesteps_since_restore += result[TIMESTEPS_THIS_ITER]
            result.setdefault("timesteps_since_restore", self._timesteps_since_restore)
        if result.get(TIMESTEPS_TOTAL) is not None:
            self._timesteps_total = result[TIMESTEPS_TOTAL]
        elif self._timesteps_total is not None:
            result[TIMESTEPS_TOTAL] = self._timesteps_total
        if result.get(EPISODES_THIS_ITER) is not None:
            self._episodes_total = (self._episodes_total or 0) + result[EPISODES_THIS_ITER]
        if result.get(EPISODES_TOTAL) is None and self._episodes_total is not None:
            result[EPISODES_TOTAL] = self._episodes_total

    def counters(self) -> dict[str, Any]:
        return {
            TRAINING_ITERATION: self._iteration,
            "time_total_s": self._time_total_s,
            TIMESTEPS_TOTAL: self._timesteps_total,
            EPISODES_TOTAL: self._episodes_total,
        }

    def set_counters(self, counters: dict[str, Any]) -> None:
        """Goes on counting from ``counters``; what is counted since the restore begins anew."""
        self._iteration = counters.get(TRAINING_ITERATION) or 0
        self._time_total_s = counters.get("time_total_s") or 0.0
        self._timesteps_total = counters.get(TIMESTEPS_TOTAL)
        self._episodes_total = counters.get(EPISODES_TOTAL)
        self._iterations_since_restore = 0
        self._time_since_restore_s = 0.0
        self._timesteps_since_restore = 0
        self._mark = time.monotonic()

    def save(self, checkpoint_dir: str | None = None) -> Checkpoint:
        """Writes a checkpoint into ``checkpoint_dir`` (default: a new temporary folder)."""
        self._saves += 1
        folder = checkpoint_dir or tempfile.mkdtemp(prefix=f"checkpoint_{self._saves:06d}_")
        os.makedirs(folder, exist_ok=True)
        state = self.save_checkpoint(folder)
        if isinstance(state, dict):
            with open(os.path.join(folder, _STATE_FILE), "wb") as file:
                cloudpickle.dump(state, file)
        elif state is not None and not os.path.abspath(str(state)).startswith(os.path.abspath(folder)):
            raise ValueError(f"save_checkpoint must write into the folder it was given ({folder}), but returned {state!r}")
        with open(os.path.join(folder, _COUNTERS_FILE), "wb") as file:
            cloudpickle.dump(self.counters(), file)
        return Checkpoint(folder)

    def restore(self, checkpoint: Checkpoint | str) -> None:
        """Takes over a checkpoint that ``save`` has written."""
        if isinstance(checkpoint, str):
            checkpoint = Checkpoint(checkpoint)
        with checkpoint.as_directory() as folder:
            counters_file = os.path.join(folder, _COUNTERS_FILE)
            if os.path.exists(counters_file):
                with open(counters_file, "rb") as file:
                    self.set_counters(cloudpickle.load(file))
            state_file = os.path.join(folder, _STATE_FILE)
            if os.path.exists(state_file):
                with open(state_file, "rb") as file:
                    self.load_checkpoint(cloudpickle.load(file))
            else:
                self.load_checkpoint(folder)

    def reset(self, new_config: dict[str, Any], information: TrialInformation) -> bool:
        """Serves another trial from now on, if ``reset_config`` can."""
        if not self.reset_config(dict(new_config)):
            return False
        self.config = new_config
        self._information = information
        self.set_counters({})
        return True

    def stop(self) -> None:
        self.cleanup()

    @property
    def iteration(self) -> int:
        return self._iteration

    training_iteration = iteration

    @property
    def logdir(self) -> str | None:
        return self._information.trial_dir

    @property
    def trial_id(self) -> str | None:
        return self._information.trial_id

    @property
    def trial_name(self) -> str | None:
        return self._information.trial_name

    @property
    def trial_resources(self) -> Any:
        return self._information.resources

    def get_config(self) -> dict[str, Any]:
        return self.config


@cache
def node_address() -> str:
    """This machine's address, without a look-up of names."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))  # sends nothing: only picks the interface
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
