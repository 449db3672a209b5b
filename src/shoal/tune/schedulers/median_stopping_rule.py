"""The median stopping rule (Golovin et al., 2017: Google Vizier)."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from shoal.tune.mode import check_mode
from shoal.tune.schedulers.trial_scheduler import CONTINUE, PAUSE, STOP, FIFOScheduler


class MedianStoppingRule(FIFOScheduler):
    """Stops a trial whose best result is worse than the median of the other trials' running means at the same time.

    Not before ``grace_period`` (in units of ``time_attr``), and only with ``min_samples_required`` other trials that got there.
    ``min_time_slice``: how long a trial runs at least once it was started. ``hard_stop`` False pauses instead.
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: int = 0,
        hard_stop: bool = True,
    ) -> None:
        self._metric, self._mode = metric, check_mode(mode)
        self._time_attr = time_attr
        self._grace_period = grace_period
        self._min_samples_required = min_samples_required
        self._min_time_slice = min_time_slice
        self._hard_stop = hard_stop
        self._results: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        self._resumed_at: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._completed: set[str] = set()

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._require_metric()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._time_attr not in result or self._metric not in result:
            return CONTINUE
        if trial.trial_id in self._stopped:
            return STOP if self._hard_stop else PAUSE
        time = result[self._time_attr]
        self._results[trial.trial_id].append((time, self._score(result)))
        if time < self._grace_period or time - self._resumed_at.get(trial.trial_id, 0.0) < self._min_time_slice:
            return CONTINUE
        others = [
            other
            for other, seen in self._results.items()
            if other != trial.trial_id and seen and seen[-1][0] >= self._grace_period
        ]
        means = [mean for other in others if (mean := self._running_mean(other, time)) is not None]
        if len(means) < self._min_samples_required:
            return CONTINUE
        if max(score for _, score in self._results[trial.trial_id]) >= float(np.median(means)):
            return CONTINUE
        if self._hard_stop:
            self._stopped.add(trial.trial_id)
            return STOP
        self._resumed_at[trial.trial_id] = time
        return PAUSE

    def _running_mean(self, trial_id: str, time: float) -> float | None:
        scores = [score for seen, score in self._results[trial_id] if self._grace_period <= seen <= time]
        return float(np.mean(scores)) if scores else None

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._time_attr in result and self._metric in result:
            self._results[trial.trial_id].append((result[self._time_attr], self._score(result)))
        self._completed.add(trial.trial_id)

    def debug_string(self) -> str:
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped)}."
