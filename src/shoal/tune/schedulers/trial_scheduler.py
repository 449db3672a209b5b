"""The contract of schedulers, and the simplest one."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle

from shoal.tune.mode import check_mode

CONTINUE = "CONTINUE"
PAUSE = "PAUSE"
STOP = "STOP"
NOOP = "NOOP"


class TrialScheduler:
    """Decides after each result whether its trial goes on, and which trial starts next.

    All methods are called by the controller, from one thread, with flat results (``{"a/b": 1}``). A decision is ``CONTINUE``,
    ``PAUSE`` (a checkpoint is kept; the trial waits until ``choose_trial_to_run`` returns it), ``STOP``, or ``NOOP`` when the
    scheduler has itself told the controller what to do with the trial.
    """

    CONTINUE = CONTINUE
    PAUSE = PAUSE
    STOP = STOP
    NOOP = NOOP

    _metric: str | None = None
    _mode: str | None = None
    _time_attr: str | None = None

    @property
    def metric(self) -> str | None:
        return self._metric

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Hands over metric and mode; False when the scheduler has its own and others are given."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        if metric:
            self._metric = metric
        if mode:
            self._mode = check_mode(mode)
        return True

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial was made."""

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial has failed for good."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decides about a running trial."""
        raise NotImplementedError(f"{type(self).__name__} must define on_trial_result")

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial has ended by itself or was stopped by a stopping rule."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial that was waiting will not run."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The waiting trial that starts next, None when none should."""
        raise NotImplementedError(f"{type(self).__name__} must define choose_trial_to_run")

    def debug_string(self) -> str:
        """One line for the progress report."""
        return f"Using {type(self).__name__}."

    def may_act(self) -> bool:
        """Whether results can lead to anything but CONTINUE. If not, trials report without waiting for the controller."""
        return True

    def save(self, checkpoint_path: str) -> None:
        with open(checkpoint_path, "wb") as file:
            cloudpickle.dump(self.__dict__, file)

    def restore(self, checkpoint_path: str) -> None:
        with open(checkpoint_path, "rb") as file:
            self.__dict__.update(pickle.load(file))

    def get_state(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def set_state(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _require_metric(self) -> None:
        """Raises ValueError when nobody has said what is optimised."""
        if not self._metric or not self._mode:
            raise ValueError(
                f"{type(self).__name__} needs a metric and a mode (its own, or of TuneConfig or tune.run), "
                f"but got metric={self._metric!r}, mode={self._mode!r}"
            )

    def _sign(self) -> float:
        return 1.0 if self._mode == "max" else -1.0

    def _score(self, result: dict[str, Any]) -> float:
        """The metric, turned so that more is better; what is no number (NaN) is the worst."""
        score = self._sign() * float(result[str(self._metric)])
        return score if score == score else float("-inf")


class FIFOScheduler(TrialScheduler):
    """Trials run to their end, in the order in which they were made."""

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return CONTINUE

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        return tune_controller.first_waiting_trial()

    def debug_string(self) -> str:
        return "Using FIFO scheduling algorithm."

    def may_act(self) -> bool:
        return type(self).on_trial_result is not FIFOScheduler.on_trial_result
