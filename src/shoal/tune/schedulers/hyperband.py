"""HyperBand (Li et al., 2017): brackets of trials that are halved together."""

from __future__ import annotations

import math
from typing import Any

from shoal.tune.experiment.trial import Trial
from shoal.tune.mode import check_mode
from shoal.tune.schedulers.trial_scheduler import CONTINUE, NOOP, PAUSE, STOP, FIFOScheduler


class HyperBandScheduler(FIFOScheduler):
    """Synchronous HyperBand. Trials pause at each milestone until their bracket is there; the best 1/``reduction_factor`` go
    on.

    ``max_t``: where trials end, in units of ``time_attr``. Trials must be able to save checkpoints.
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: str | None = None,
        mode: str | None = None,
        max_t: int = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        if not max_t > 0:
            raise ValueError(f"max_t must be > 0, but got max_t={max_t}")
        if not reduction_factor > 1:
            raise ValueError(f"reduction_factor must be > 1, but got reduction_factor={reduction_factor}")
        self._metric, self._mode = metric, check_mode(mode)
        self._time_attr = time_attr
        self._max_t = max_t
        self._eta = reduction_factor
        self._stop_last_trials = stop_last_trials
        # Logarithms of whole powers are not always whole in floating point.
        self._largest = int(math.log(max_t) / math.log(reduction_factor) + 1e-9)
        self._next = self._largest
        self._brackets: list[Bracket] = []
        self._bracket_of: dict[str, Bracket] = {}
        self._num_stopped = 0

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._require_metric()
        if not self._brackets or self._brackets[-1].is_full:
            self._brackets.append(self._new_bracket())
        self._brackets[-1].add(trial)
        self._bracket_of[trial.trial_id] = self._brackets[-1]

    def _new_bracket(self) -> Bracket:
        exponent = self._next
        self._next = self._largest if exponent == 0 else exponent - 1
        size = math.ceil((self._largest + 1) / (exponent + 1) * self._eta**exponent)
        first = max(1, int(self._max_t * self._eta**-exponent))
        return Bracket(size, first, self._max_t, self._eta, self._stop_last_trials)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if self._time_attr not in result or self._metric not in result:
            return CONTINUE
        bracket = self._bracket_of[trial.trial_id]
        bracket.record(trial, result[self._time_attr], self._score(result))
        if result[self._time_attr] < bracket.milestone:
            return CONTINUE
        if not self._is_ready(tune_controller, bracket):
            return PAUSE
        return self._halve(tune_controller, bracket, trial)

    def _is_ready(self, tune_controller: Any, bracket: Bracket) -> bool:
        return bracket.all_arrived and (bracket.is_full or not tune_controller.may_add_trials())

    def _halve(self, tune_controller: Any, bracket: Bracket, current: Any) -> str:
        """Stops the worse part of ``bracket``; returns the decision about ``current``, who may be still running."""
        decision = PAUSE if current is not None else NOOP
        good, bad = bracket.halve()
        for trial in bad:
            self._num_stopped += 1
            if trial is current:
                decision = STOP
            else:
                tune_controller.stop_trial(trial)
            self._bracket_of.pop(trial.trial_id, None)
        if current is not None and current in good:
            decision = CONTINUE
        self._forget_if_over(bracket)
        return decision

    def _forget_if_over(self, bracket: Bracket) -> None:
        if not bracket.live and bracket in self._brackets:
            self._brackets.remove(bracket)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._drop(trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        self._drop(trial)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._drop(trial)

    def _drop(self, trial: Any) -> None:
        bracket = self._bracket_of.pop(trial.trial_id, None)
        if bracket is not None:
            bracket.live.pop(trial.trial_id, None)
            if bracket.is_full:
                self._forget_if_over(bracket)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        for _ in range(len(self._brackets) + 1):
            for bracket in self._brackets:
                found = self._waiting_in(tune_controller, bracket)
                if found is not None:
                    return found
            ready = [one for one in self._brackets if one.live and one.resting and self._is_ready(tune_controller, one)]
            if not ready:
                return None
            for bracket in ready:
                self._halve(tune_controller, bracket, None)
        return None

    def _waiting_in(self, tune_controller: Any, bracket: Bracket) -> Any:
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in bracket.trials:
                if trial.status != status or trial.trial_id not in bracket.live:
                    continue
                if not bracket.has_arrived(trial) and tune_controller.has_resources_for_trial(trial):
                    return trial
        return None

    def debug_string(self) -> str:
        lines = [f"Using HyperBand: num_stopped={self._num_stopped} total_brackets={len(self._brackets)}"]
        return "\n".join(lines + [bracket.describe() for bracket in self._brackets])

    def may_act(self) -> bool:
        return True


class Bracket:
    """Trials that reach milestones together."""

    def __init__(self, size: int, first: int, max_t: int, eta: float, stop_last_trials: bool) -> None:
        self.size = size
        self.milestone: float = first
        self._step = first
        self._max_t = max_t
        self._eta = eta
        self._stop_last_trials = stop_last_trials
        self._quota = size
        self.trials: list[Any] = []
        self.live: dict[str, tuple[float, float] | None] = {}

    @property
    def is_full(self) -> bool:
        return len(self.trials) >= self.size

    @property
    def resting(self) -> bool:
        """Whether nobody of the bracket is running."""
        return not any(trial.status == Trial.RUNNING for trial in self.trials if trial.trial_id in self.live)

    @property
    def all_arrived(self) -> bool:
        return all(seen is not None and seen[0] >= self.milestone for seen in self.live.values())

    def add(self, trial: Any) -> None:
        self.trials.append(trial)
        self.live[trial.trial_id] = None

    def record(self, trial: Any, time: float, score: float) -> None:
        if trial.trial_id in self.live:
            self.live[trial.trial_id] = (time, score)

    def has_arrived(self, trial: Any) -> bool:
        seen = self.live.get(trial.trial_id)
        return seen is not None and seen[0] >= self.milestone

    def halve(self) -> tuple[list[Any], list[Any]]:
        """Moves to the next milestone; returns who goes on and who is out."""
        at_end = self.milestone >= self._max_t
        # A trial that ended by itself leaves its place to nobody: the quota counts from those that are left.
        self._quota = 0 if at_end and self._stop_last_trials else max(1, int(len(self.live) / self._eta))
        alive = [trial for trial in self.trials if trial.trial_id in self.live]
        alive.sort(key=lambda trial: (self.live[trial.trial_id] or (0.0, float("-inf")))[1], reverse=True)
        if at_end and not self._stop_last_trials:
            self._quota = len(alive)
        good, bad = alive[: self._quota], alive[self._quota :]
        for trial in bad:
            del self.live[trial.trial_id]
        self._step = int(min(self._step * self._eta, self._max_t))
        self.milestone = min(self.milestone + self._step, self._max_t) if not at_end else float("inf")
        return good, bad

    def describe(self) -> str:
        return f"Bracket(Max Size (n)={self.size}, Milestone (r)={self.milestone}, live={len(self.live)}/{len(self.trials)})"
