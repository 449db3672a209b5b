"""When a trial, or the whole run, ends early."""

from __future__ import annotations

import datetime
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from shoal.tune.mode import check_mode
from shoal.util.signatures import signature_of


class Stopper:
    """``__call__(trial_id, result)`` is asked after each result whether that trial stops; ``stop_all()`` whether all do."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(trial_id, result)")

    def stop_all(self) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define stop_all()")

    def deadline_s(self) -> float | None:
        """The ``time.time()`` at which ``stop_all`` may turn true by itself; None when only results can change it."""
        return None


class NoopStopper(Stopper):
    """Never stops."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return False


class CombinedStopper(Stopper):
    """Stops when one of ``stoppers`` does."""

    def __init__(self, *stoppers: Stopper) -> None:
        self._stoppers = stoppers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        # Every stopper is asked: some count what they see.
        answers = [stopper(trial_id, result) for stopper in self._stoppers]
        return any(answers)

    def stop_all(self) -> bool:
        answers = [stopper.stop_all() for stopper in self._stoppers]
        return any(answers)

    def deadline_s(self) -> float | None:
        deadlines = [found for stopper in self._stoppers if (found := stopper.deadline_s()) is not None]
        return min(deadlines, default=None)


class FunctionStopper(Stopper):
    """Stops a trial when ``function(trial_id, result)`` is true."""

    def __init__(self, function: Callable[[str, dict[str, Any]], bool]) -> None:
        if not self.is_valid_function(function):
            raise ValueError(f"a stop function must take (trial_id, result), but got {function!r}")
        self._function = function

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return bool(self._function(trial_id, result))

    def stop_all(self) -> bool:
        return False

    @classmethod
    def is_valid_function(cls, function: Any) -> bool:
        if isinstance(function, Stopper) or not callable(function):
            return False
        try:
            signature_of(function).bind("trial", {})
        except (TypeError, ValueError):
            return False
        return True


class MaximumIterationStopper(Stopper):
    """Stops each trial after ``max_iter`` results."""

    def __init__(self, max_iter: int) -> None:
        self._max_iter = max_iter
        self._iterations: defaultdict[str, int] = defaultdict(int)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._iterations[trial_id] += 1
        return self._iterations[trial_id] >= self._max_iter

    def stop_all(self) -> bool:
        return False


class TimeoutStopper(Stopper):
    """Stops everything ``timeout`` (seconds or a timedelta) after the first question. Time in which a run rests does not
    count."""

    def __init__(self, timeout: Any) -> None:
        seconds = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
        if not isinstance(seconds, (int, float)) or not seconds > 0:
            raise ValueError(f"timeout must be a number of seconds > 0 or a timedelta, but got timeout={timeout!r}")
        self._timeout_s = float(seconds)
        self._used_s = 0.0
        self._started_at: float | None = None

    def start(self) -> None:
        """The time runs from now on, unless it does already."""
        if self._started_at is None:
            self._started_at = time.time()

    def _elapsed_s(self) -> float:
        return self._used_s + (time.time() - self._started_at if self._started_at is not None else 0.0)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self.stop_all()

    def stop_all(self) -> bool:
        self.start()
        return self._elapsed_s() >= self._timeout_s

    def deadline_s(self) -> float | None:
        self.start()
        assert self._started_at is not None
        return self._started_at + self._timeout_s - self._used_s

    def __getstate__(self) -> dict[str, Any]:
        return {"_timeout_s": self._timeout_s, "_used_s": self._elapsed_s(), "_started_at": None}


class TrialPlateauStopper(Stopper):
    """Stops a trial whose ``metric`` has had a standard deviation of at most ``std`` over the last ``num_results`` results.

    Not before ``grace_period`` results, and, with ``metric_threshold`` and ``mode``, not before the metric has passed it: stays
    running while it is below ("max") or above ("min") the threshold.
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if metric_threshold is not None:
            check_mode(mode, required=True)
        self._metric = metric
        self._std = std
        self._num_results = num_results
        self._grace_period = grace_period
        self._threshold = metric_threshold
        self._mode = mode
        self._iterations: defaultdict[str, int] = defaultdict(int)
        self._recent: dict[str, deque[float]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        value = result.get(self._metric)
        recent = self._recent.setdefault(trial_id, deque(maxlen=self._num_results))
        if value is not None:
            recent.append(value)
        self._iterations[trial_id] += 1
        if self._iterations[trial_id] < self._grace_period or len(recent) < self._num_results:
            return False
        if self._threshold is not None:
            if self._mode == "min" and recent[-1] > self._threshold:
                return False
            if self._mode == "max" and recent[-1] < self._threshold:
                return False
        return bool(np.std(recent) < self._std)

    def stop_all(self) -> bool:
        return False


class ExperimentPlateauStopper(Stopper):
    """Stops everything when the ``top`` best values of ``metric`` have a standard deviation of at most ``std``, and that for
    ``patience`` results."""

    def __init__(self, metric: str, std: Any = 0.001, top: Any = 10, mode: str = "min", patience: Any = 0) -> None:
        check_mode(mode, required=True)
        if not isinstance(top, int) or top <= 1:
            raise ValueError(f"top must be an integer > 1, but got top={top!r}")
        if not isinstance(patience, int) or patience < 0:
            raise ValueError(f"patience must be an integer >= 0, but got patience={patience!r}")
        if not isinstance(std, float) or std <= 0:
            raise ValueError(f"std must be a float > 0, but got std={std!r}")
        self._metric = metric
        self._std = std
        self._top = top
        self._mode = mode
        self._patience = patience
        self._iterations = 0
        self._should_stop = False
        self._best: list[float] = []

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self._best.append(result[self._metric])
        self._best = sorted(self._best, reverse=self._mode == "max")[: self._top]
        if len(self._best) == self._top and np.std(self._best) <= self._std:
            self._iterations += 1
        else:
            self._iterations = 0
        self._should_stop = self._iterations > 0 and self._iterations >= self._patience
        return self._should_stop

    def stop_all(self) -> bool:
        return self._should_stop
