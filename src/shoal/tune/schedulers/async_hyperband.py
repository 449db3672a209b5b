"""Asynchronous successive halving (Li et al., 2018: Massively Parallel Hyperparameter Tuning)."""

from __future__ import annotations

import bisect
import math
from typing import Any

import numpy as np

from shoal.tune.mode import check_mode
from shoal.tune.result import DEFAULT_METRIC
from shoal.tune.schedulers.trial_scheduler import CONTINUE, STOP, FIFOScheduler


class AsyncHyperBandScheduler(FIFOScheduler):
    """Stops trials that are not among the best 1/``reduction_factor`` of those seen so far at a rung.

    Rungs lie at ``grace_period`` times powers of ``reduction_factor``, up to ``max_t``, in units of ``time_attr``. A trial is
    judged at the highest rung it has reached and not yet been judged at. With several ``brackets``, later ones start at later
    rungs. ``stop_last_trials``: whether trials end at ``max_t``.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
    ) -> None:
        if max_t <= 0:
            raise ValueError(f"max_t must be > 0, but got max_t={max_t}")
        if grace_period <= 0 or grace_period > max_t:
            raise ValueError(f"grace_period must be > 0 and <= max_t, but got grace_period={grace_period}, max_t={max_t}")
        if reduction_factor <= 1:
            raise ValueError(f"reduction_factor must be > 1, but got reduction_factor={reduction_factor}")
        if brackets <= 0:
            raise ValueError(f"brackets must be > 0, but got brackets={brackets}")
        self._metric, self._mode = metric, check_mode(mode)
        self._time_attr = time_attr
        self._max_t = max_t
        self._stop_last_trials = stop_last_trials
        self._brackets = [_Bracket(grace_period, max_t, reduction_factor, skipped) for skipped in range(brackets)]
        self._bracket_of: dict[str, _Bracket] = {}
        self._num_stopped = 0

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        taken = super().set_search_properties(metric, mode, **spec)
        if self._metric is None and self._mode:
            self._metric = DEFAULT_METRIC
        return taken

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._require_metric()
        self._bracket_of[trial.trial_id] = self._brackets[self._choose_bracket() if len(self._brackets) > 1 else 0]

    def _choose_bracket(self) -> int:
        sizes = np.array([len(bracket.rungs) for bracket in self._brackets], dtype=float)
        weights = np.exp(sizes - sizes.max())
        return int(np.random.choice(len(sizes), p=weights / weights.sum()))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._time_attr not in result or self._metric not in result:
            return CONTINUE
        if result[self._time_attr] >= self._max_t and self._stop_last_trials:
            decision = STOP
        else:
            score = self._score(result)
            decision = self._bracket_of[trial.trial_id].judge(trial.trial_id, result[self._time_attr], score)
        self._num_stopped += decision == STOP
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        bracket = self._bracket_of.pop(trial.trial_id, None)
        if bracket is not None and self._time_attr in result and self._metric in result:
            bracket.judge(trial.trial_id, result[self._time_attr], self._score(result))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._bracket_of.pop(trial.trial_id, None)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._bracket_of.pop(trial.trial_id, None)

    def debug_string(self) -> str:
        rungs = "; ".join(bracket.describe() for bracket in self._brackets)
        return f"Using AsyncHyperBand: num_stopped={self._num_stopped}\n{rungs}"


class _Rung:
    """Who has passed one milestone, and their scores in order: the trials after ten thousand others are judged as quickly as
    the first."""

    def __init__(self, milestone: float) -> None:
        self.milestone = milestone
        self.passed: set[str] = set()
        self._scores: list[float] = []  # finite ones, ascending

    def record(self, trial_id: str, score: float) -> None:
        self.passed.add(trial_id)
        if math.isfinite(score):
            bisect.insort(self._scores, score)

    def quantile(self, share: float) -> float | None:
        """The score that ``share`` of the others lie below, between two of them if need be; None without scores."""
        if not self._scores:
            return None
        place = share * (len(self._scores) - 1)
        below = math.floor(place)
        low, high = self._scores[below], self._scores[min(below + 1, len(self._scores) - 1)]
        return low + (high - low) * (place - below)


class _Bracket:
    """The rungs of one starting point, highest first."""

    def __init__(self, first: float, max_t: float, factor: float, skipped: int) -> None:
        self._share = 1 - 1 / factor
        self.rungs: list[_Rung] = []
        power = skipped
        while first * factor**power < max_t or not self.rungs:
            self.rungs.insert(0, _Rung(first * factor**power))
            power += 1

    def judge(self, trial_id: str, time: float, score: float) -> str:
        for rung in self.rungs:
            if time < rung.milestone or trial_id in rung.passed:
                continue
            cutoff = rung.quantile(self._share)
            rung.record(trial_id, score)
            return STOP if cutoff is not None and score < cutoff else CONTINUE
        return CONTINUE

    def describe(self) -> str:
        return "Bracket: " + " | ".join(f"Iter {rung.milestone:.3f}: {rung.quantile(self._share)}" for rung in self.rungs)


ASHAScheduler = AsyncHyperBandScheduler
