"""The median stopping rule (Golovin et al., 2017: Google Vizier)."""

from __future__ import annotations

import bisect
import collections
import math
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
        self._curves: dict[str, _Curve] = collections.defaultdict(_Curve)
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
        curve = self._record(trial, time, self._score(result))
        if time < self._grace_period or time - self._resumed_at.get(trial.trial_id, 0.0) < self._min_time_slice:
            return CONTINUE
        others = [one for one in self._curves.values() if one is not curve and one.last >= self._grace_period]
        means = [mean for other in others if (mean := other.mean_until(time)) is not None]
        if len(means) < self._min_samples_required or curve.best >= float(np.median(means)):
            return CONTINUE
        if self._hard_stop:
            self._stopped.add(trial.trial_id)
            return STOP
        self._resumed_at[trial.trial_id] = time
        return PAUSE

    def _record(self, trial: Any, time: float, score: float) -> _Curve:
        curve = self._curves[trial.trial_id]
        curve.add(time, score, counts=time >= self._grace_period)
        return curve

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        if self._time_attr in result and self._metric in result:
            self._record(trial, result[self._time_attr], self._score(result))
        self._completed.add(trial.trial_id)

    def debug_string(self) -> str:
        return f"Using MedianStoppingRule: num_stopped={len(self._stopped)}."


class _Curve:
    """The results of one trial, such that its running mean at any time is looked up, however many results there are."""

    __slots__ = ("_means", "_scores", "_times", "best", "last")

    def __init__(self) -> None:
        self.best = -math.inf
        self.last = -math.inf  # the time of the latest result
        self._times: list[float] = []  # ascending, as are those that belong to them:
        self._scores: list[float] = []
        self._means: list[float] = []  # of this score and those before

    def add(self, time: float, score: float, counts: bool) -> None:
        """``counts``: whether the score is part of the running means."""
        self.best, self.last = max(self.best, score), time
        if not counts:
            return
        place = bisect.bisect_right(self._times, time)  # the end, unless the trial was set back
        self._times.insert(place, time)
        self._scores.insert(place, score)
        del self._means[place:]
        mean = self._means[-1] if self._means else 0.0
        for number in range(place, len(self._scores)):
            # Step by step: the mean of equal scores is that score, and no rounding error stops a trial that is as good.
            mean += (self._scores[number] - mean) / (number + 1) if math.isfinite(mean) else 0.0
            self._means.append(mean)

    def mean_until(self, time: float) -> float | None:
        place = bisect.bisect_right(self._times, time)
        return self._means[place - 1] if place else None
