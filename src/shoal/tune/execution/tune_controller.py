"""The brain of a run: a state machine over trials, without clock, processes or files.

``handle(event)`` and ``fill()`` return instructions for the shell (``shoal.tune.execution.runner``). Searcher, scheduler and
stopper are asked here; everything that touches the world is an instruction.

A trial is PENDING, then RUNNING (its process exists or is being made), PAUSED (it has a checkpoint and no process), and at last
TERMINATED or ERROR. While a checkpoint is being saved for it, ``_after_save`` says what follows.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any

from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import InfeasibleTrialError, TuneError
from shoal.tune.execution.events import (
    Continue,
    Copy,
    Delete,
    Event,
    Instruction,
    Notify,
    Record,
    Release,
    Save,
    Start,
    StopRequested,
    TimePassed,
    TrialEnded,
    TrialFailed,
    TrialReported,
    TrialSaved,
)
from shoal.tune.experiment.trial import Trial
from shoal.tune.flatten import flatten_dict
from shoal.tune.result import DONE, SHOULD_CHECKPOINT, TRAINING_ITERATION
from shoal.tune.schedulers.trial_scheduler import CONTINUE, NOOP, PAUSE, STOP, FIFOScheduler, TrialScheduler
from shoal.tune.search.basic_variant import BasicVariantGenerator
from shoal.tune.search.search_algorithm import SearchAlgorithm
from shoal.tune.stopper import NoopStopper, Stopper, TimeoutStopper

logger = logging.getLogger(__name__)

_COUNTERS = (TRAINING_ITERATION, "time_total_s", "timesteps_total", "episodes_total")
_PENDING_AHEAD = 200
_ASKED_MAX = 100
_RUNNING_MAX = 1000
_WITHOUT_RESOURCES_MAX = 64


class TuneController:
    """Decides what happens to each trial.

    ``resources``: what the cluster has. ``metric``: the one that results must hold, if any. ``fail_fast``: stop everything at
    the first failure.
    """

    def __init__(
        self,
        *,
        search_alg: SearchAlgorithm | None = None,
        scheduler: TrialScheduler | None = None,
        stopper: Stopper | None = None,
        resources: dict[str, float] | None = None,
        metric: str | None = None,
        fail_fast: bool | str = False,
        max_pending: int | None = None,
        running_max: int = _RUNNING_MAX,
    ) -> None:
        self.search_alg = search_alg or BasicVariantGenerator()
        self.scheduler = scheduler or FIFOScheduler()
        self.stopper = stopper or NoopStopper()
        self.resources = dict(resources or {"CPU": 1.0})
        self._metric = metric
        self._fail_fast = fail_fast
        self._running_max = running_max
        self._max_pending = max_pending if max_pending is not None else self._default_max_pending()
        self._trials: dict[str, Trial] = {}
        self._listed: list[Trial] = []
        self._by_status: dict[str, dict[str, Trial]] = {
            status: {} for status in (Trial.PENDING, Trial.RUNNING, Trial.PAUSED, Trial.TERMINATED, Trial.ERROR)
        }
        self._used: dict[str, float] = {}
        self._after_save: dict[str, str] = {}
        self._resource_changes: dict[str, Any] = {}
        self._instructions: list[Instruction] = []
        self.stop_reason: str | None = None
        self.fatal_error: BaseException | None = None
        self.iteration = 0

    def _default_max_pending(self) -> int:
        configured = os.environ.get("TUNE_MAX_PENDING_TRIALS_PG", "auto")
        if configured != "auto":
            return int(configured)
        if not isinstance(self.search_alg, BasicVariantGenerator):
            return 1
        return max(_PENDING_AHEAD, int(self.resources.get("CPU", 1) * 1.1))

    # -- what schedulers may ask and do
    def get_trials(self) -> list[Trial]:
        return list(self._trials.values())

    def trials_view(self) -> list[Trial]:
        """All trials, for callbacks: one list that grows."""
        return self._listed

    def get_trial(self, trial_id: str) -> Trial | None:
        return self._trials.get(trial_id)

    def get_live_trials(self) -> list[Trial]:
        """All that have not ended."""
        return [trial for status in (Trial.RUNNING, Trial.PENDING, Trial.PAUSED) for trial in self._by_status[status].values()]

    def trials_with_status(self, status: str) -> list[Trial]:
        return list(self._by_status[status].values())

    def count(self, status: str) -> int:
        return len(self._by_status[status])

    def waiting_trials(self) -> Iterator[Trial]:
        """PENDING ones, then PAUSED ones."""
        paused = [trial for trial in self._by_status[Trial.PAUSED].values() if trial.trial_id not in self._after_save]
        return itertools.chain(self._by_status[Trial.PENDING].values(), paused)

    def first_waiting_trial(self, other_than: Trial | None = None) -> Trial | None:
        """The first waiting trial that fits; with ``other_than``: the first other one, whether it fits or not."""
        rejected = None
        for trial in self.waiting_trials():
            if other_than is not None:
                if trial is not other_than:
                    return trial
                continue
            if trial.placement_group_factory is rejected:
                continue
            if self.has_resources_for_trial(trial):
                return trial
            rejected = trial.placement_group_factory
        return None

    def has_resources_for_trial(self, trial: Trial) -> bool:
        needed = trial.placement_group_factory.required_resources
        if self.count(Trial.RUNNING) >= (self._running_max if needed else min(self._running_max, _WITHOUT_RESOURCES_MAX)):
            return False
        return all(
            self._used.get(name, 0.0) + amount <= self.resources.get(name, 0.0) + 1e-6 for name, amount in needed.items()
        )

    def free_resources(self) -> dict[str, float]:
        return {name: amount - self._used.get(name, 0.0) for name, amount in self.resources.items()}

    def may_add_trials(self) -> bool:
        """Whether the search algorithm may make further trials."""
        return self.stop_reason is None and not self.search_alg.is_finished()

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Takes a running trial off its process; with ``should_checkpoint`` after a last checkpoint of a class trainable."""
        if trial.status != Trial.RUNNING:
            return
        if should_checkpoint and not trial.is_function:
            self._save(trial, PAUSE)
        else:
            self._after_save.pop(trial.trial_id, None)
            self._leave(trial, Trial.PAUSED, gracefully=not trial.is_function)

    def stop_trial(self, trial: Trial) -> None:
        """Ends a trial well, whatever it is doing."""
        if trial.is_finished():
            return
        result = {**trial.last_result, DONE: True}
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self.scheduler.on_trial_remove(self, trial)
        else:
            self.scheduler.on_trial_complete(self, trial, flatten_dict(result))
        self.search_alg.on_trial_complete(trial.trial_id, result=flatten_dict(trial.last_result) or None)
        trial.last_result = result if trial.last_result else trial.last_result
        self._after_save.pop(trial.trial_id, None)
        self._terminate(trial)

    request_stop_trial = stop_trial

    def save_trial(self, trial: Trial) -> None:
        """Asks a class trainable for a checkpoint; it goes on afterwards."""
        if trial.status == Trial.RUNNING and not trial.is_function:
            self._save(trial, NOOP)

    schedule_trial_save = save_trial

    def clone_trial(self, trial: Trial, donor: Trial, config: dict[str, Any], tag: str) -> None:
        """Lets ``trial`` go on from the latest checkpoint of ``donor``, with ``config``."""
        if donor.checkpoints.latest is None:
            raise ValueError(f"{donor} has no checkpoint that {trial} could go on from")
        source, metrics = donor.checkpoints.latest
        self.pause_trial(trial, should_checkpoint=False)
        name = trial.next_checkpoint_name()
        self._instructions.append(Copy(trial, source, name))
        copied = _copied_checkpoint(trial, source, name)
        self._add_checkpoint(trial, copied, metrics)
        self._set_config(trial, config, tag)

    def change_config(self, trial: Trial, config: dict[str, Any], tag: str) -> None:
        """Lets ``trial`` go on from its own latest state, with ``config``."""
        self._set_config(trial, config, tag)
        self.pause_trial(trial)

    def change_resources(self, trial: Trial, resources: Any) -> None:
        """Lets ``trial`` go on from its own latest state, with other resources. It must have a checkpoint if it is a
        function."""
        self.pause_trial(trial)
        if trial.status == Trial.RUNNING:  # being saved: the new resources count from the next start
            self._resource_changes[trial.trial_id] = resources
        else:
            trial.placement_group_factory = resources

    def _set_config(self, trial: Trial, config: dict[str, Any], tag: str) -> None:
        trial.set_config(config)
        trial.set_experiment_tag(tag)
        self._instructions.append(Record("config", trial))

    # -- what the shell calls
    def take_instructions(self) -> list[Instruction]:
        taken, self._instructions = self._instructions, []
        return taken

    def add_trial(self, trial: Trial, instead_of: Trial | None = None) -> None:
        """Takes over a trial that the search algorithm did not make; it may be ``instead_of`` one of the log."""
        self._trials[trial.trial_id] = trial
        self._listed.append(trial)
        self._by_status[trial.status][trial.trial_id] = trial
        if not trial.is_finished():
            self.scheduler.on_trial_add(self, trial)
        old = {"old": instead_of.trial_id} if instead_of is not None and instead_of is not trial else None
        self._instructions.append(Record("restart", trial, old) if old else Record("trial", trial))

    def is_finished(self) -> bool:
        if self.count(Trial.RUNNING):
            return False
        if self.stop_reason is not None:
            return True
        return self.search_alg.is_finished() and not self._by_status[Trial.PENDING] and not self._by_status[Trial.PAUSED]

    def fill(self) -> list[Instruction]:
        """Starts what may run now. Raises InfeasibleTrialError for a trial that can never run."""
        if self.stop_reason is None and self.stopper.stop_all():
            self._stop_all("the stopping rule of the experiment is met")
        while self.stop_reason is None:
            self._make_pending()
            trial = self.scheduler.choose_trial_to_run(self)
            if trial is None:
                if self._capacity_left() and not self._by_status[Trial.PENDING] and self._make_one():
                    continue
                if self._is_stuck() and self._unstick():
                    continue
                break
            if not self.has_resources_for_trial(trial):
                break
            self._start(trial)
        return self.take_instructions()

    def _capacity_left(self) -> bool:
        return any(amount > 1e-6 for amount in self.free_resources().values())

    def _make_pending(self) -> None:
        while self.count(Trial.PENDING) < self._max_pending and self._make_one():
            if self.count(Trial.PENDING) >= 2 and not isinstance(self.search_alg, BasicVariantGenerator):
                break

    def _make_one(self) -> bool:
        if self.search_alg.is_finished():
            return False
        trial = self.search_alg.next_trial()
        if trial is None:
            return False
        self.add_trial(trial)
        return True

    def _is_stuck(self) -> bool:
        if self.count(Trial.RUNNING):
            return False
        return bool(self._by_status[Trial.PENDING] or self._by_status[Trial.PAUSED]) or not self.search_alg.is_finished()

    def _unstick(self) -> bool:
        """Nothing runs and nobody is chosen: says why, or starts a trial that the scheduler has forgotten."""
        for trial in self.waiting_trials():
            self._check_feasible(trial)
        forgotten = next(self.waiting_trials(), None)
        if forgotten is not None:
            self._start(forgotten)
            return True
        for _ in range(_ASKED_MAX):  # a searcher may draw what it has drawn before, and then say nothing
            if self.search_alg.is_finished():
                return False
            if self._make_one():
                return True
        raise TuneError(
            f"{type(getattr(self.search_alg, 'searcher', self.search_alg)).__name__} suggests no configuration although no "
            f"trial is running; {len(self._trials)} trials were made so far"
        )

    def _check_feasible(self, trial: Trial) -> None:
        needed = trial.placement_group_factory.required_resources
        missing = {name: amount for name, amount in needed.items() if amount > self.resources.get(name, 0.0) + 1e-6}
        if missing:
            raise InfeasibleTrialError(
                f"trial {trial} asks for {needed}, but the cluster has {self._plain_resources()}: it could never start. "
                "Ask for less (resources_per_trial, tune.with_resources), or start a larger cluster"
            )

    def _plain_resources(self) -> dict[str, float]:
        return {name: amount for name, amount in self.resources.items() if not name.startswith("node:")}

    def handle(self, event: Event) -> list[Instruction]:
        """Takes one event in; what belongs to a trial that is no longer running is dropped."""
        self.iteration += 1
        if isinstance(event, StopRequested):
            self._stop_all(event.reason)
        elif isinstance(event, TimePassed):
            if self.stop_reason is None and self.stopper.stop_all():
                self._stop_all("the time is over")
        else:
            trial = self._by_status[Trial.RUNNING].get(event.trial_id)
            if trial is not None:
                self._handle_trial_event(trial, event)
        return self.take_instructions()

    def _handle_trial_event(self, trial: Trial, event: Event) -> None:
        if isinstance(event, TrialReported):
            self._on_result(trial, event)
        elif isinstance(event, TrialEnded):
            self._on_end(trial)
        elif isinstance(event, TrialSaved):
            self._on_saved(trial, event.checkpoint)
        elif isinstance(event, TrialFailed):
            self._on_failure(trial, event)

    # -- results
    def _on_result(self, trial: Trial, event: TrialReported) -> None:
        result = event.result
        flat = flatten_dict(result)
        self._check_metrics(trial, flat)
        if event.checkpoint is not None:
            self._add_checkpoint(trial, event.checkpoint, result)
        trial.metrics.update(flat)
        if trial.should_stop(flat) or self.stopper(trial.trial_id, result):
            decision = STOP
            self.scheduler.on_trial_complete(self, trial, {**flat, DONE: True})
        else:
            trial.last_result = result
            decision = self.scheduler.on_trial_result(self, trial, flat)
        if decision == STOP:
            result[DONE] = True
        elif trial.status == Trial.RUNNING:
            self.search_alg.on_trial_result(trial.trial_id, flat)
        trial.last_result = result
        self._instructions.append(Record("result", trial, {"result": result}))
        self._instructions.append(Notify("on_trial_result", trial, {"result": result}))
        if decision == STOP:
            self.search_alg.on_trial_complete(trial.trial_id, result={**flat, DONE: True})
        self._follow(trial, decision, result)
        if self.stop_reason is None and self.stopper.stop_all():
            self._stop_all("the stopping rule of the experiment is met")

    def _follow(self, trial: Trial, decision: str, result: dict[str, Any]) -> None:
        if decision == STOP:
            at_end = trial.checkpoint_config.checkpoint_at_end and not trial.is_function
            if at_end or self._is_checkpoint_due(trial, result):
                self._save(trial, STOP)
            else:
                self._terminate(trial)
        elif decision == PAUSE:
            self.pause_trial(trial)
        elif decision == CONTINUE:
            if trial.trial_id in self._after_save or self._is_checkpoint_due(trial, result):
                self._save(trial, CONTINUE)
            elif trial.status == Trial.RUNNING:
                self._instructions.append(Continue(trial))
        elif decision != NOOP:
            raise TuneError(f"{type(self.scheduler).__name__} must decide CONTINUE, PAUSE, STOP or NOOP, but got {decision!r}")

    def _is_checkpoint_due(self, trial: Trial, result: dict[str, Any]) -> bool:
        if trial.is_function:
            return False
        frequency = trial.checkpoint_config.checkpoint_frequency
        return bool(result.get(SHOULD_CHECKPOINT) or (frequency and result[TRAINING_ITERATION] % frequency == 0))

    def _check_metrics(self, trial: Trial, flat: dict[str, Any]) -> None:
        if os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING", "0") == "1":
            return
        named: dict[str, Any] = {
            "the run": self._metric,
            "the scheduler": self.scheduler.metric,
            "the search algorithm": self.search_alg.metric,
        }
        for who, metric in named.items():
            for one in metric if isinstance(metric, list) else [metric]:
                if one and one not in flat:
                    reported = sorted(name for name in flat if not name.startswith("config/"))
                    raise TuneError(
                        f"{who} needs the metric {one!r}, but trial {trial} has reported only {reported} "
                        "(TUNE_DISABLE_STRICT_METRIC_CHECKING=1 lets such results pass)"
                    )
                if one and not _is_number(flat[one]):
                    raise TuneError(f"{who} needs the metric {one!r} as a number, but trial {trial} has reported {flat[one]!r}")

    def _on_end(self, trial: Trial) -> None:
        result = {**trial.last_result, DONE: True}
        result.setdefault("trial_id", trial.trial_id)
        trial.last_result = result
        flat = flatten_dict(result)
        if TRAINING_ITERATION in result:
            self.stopper(trial.trial_id, result)  # stoppers see the end of a function as its last result once more, as in Ray
        self.scheduler.on_trial_complete(self, trial, flat)
        self.search_alg.on_trial_complete(trial.trial_id, result=flat)
        self._terminate(trial)
        if self.stop_reason is None and self.stopper.stop_all():
            self._stop_all("the stopping rule of the experiment is met")

    # -- checkpoints
    def _save(self, trial: Trial, then: str) -> None:
        waiting = self._after_save.get(trial.trial_id)
        if waiting is not None:
            # One save is on its way already; the weightier of both intentions wins.
            order = [NOOP, CONTINUE, PAUSE, STOP]
            self._after_save[trial.trial_id] = max(waiting, then, key=order.index)
            return
        self._after_save[trial.trial_id] = then
        self._instructions.append(Save(trial, trial.next_checkpoint_name()))
        self._instructions.append(Notify("on_trial_save", trial))

    def _on_saved(self, trial: Trial, checkpoint: Any) -> None:
        self._add_checkpoint(trial, checkpoint, trial.last_result)
        then = self._after_save.pop(trial.trial_id, None)
        if then == STOP:
            self._terminate(trial)
        elif then == PAUSE:
            self._leave(trial, Trial.PAUSED, gracefully=True)
        elif then == CONTINUE:
            self._instructions.append(Continue(trial))

    def _add_checkpoint(self, trial: Trial, checkpoint: Any, metrics: dict[str, Any]) -> None:
        dropped = trial.checkpoints.add(checkpoint, metrics)
        counters = {name: metrics.get(name) for name in _COUNTERS}
        self._instructions.append(
            Record("checkpoint", trial, {"checkpoint": checkpoint, "metrics": metrics, "counters": counters})
        )
        self._instructions.append(Notify("on_checkpoint", trial, {"checkpoint": checkpoint}))
        self._instructions.extend(Delete(trial, old) for old in dropped)

    # -- moving between states
    def _move(self, trial: Trial, status: str) -> None:
        del self._by_status[trial.status][trial.trial_id]
        trial.set_status(status)
        self._by_status[status][trial.trial_id] = trial
        self._instructions.append(Record("status", trial))

    def _start(self, trial: Trial) -> None:
        self._check_feasible(trial)
        self._move(trial, Trial.RUNNING)
        for name, amount in trial.placement_group_factory.required_resources.items():
            self._used[name] = self._used.get(name, 0.0) + amount
        latest = trial.checkpoints.latest
        counters = {name: latest[1].get(name) for name in _COUNTERS} if latest else None
        self._instructions.append(Start(trial, latest[0] if latest else None, counters, self._lockstep(trial)))
        self._instructions.append(Notify("on_trial_start", trial))
        if latest:
            self._instructions.append(Notify("on_trial_restore", trial))

    def _lockstep(self, trial: Trial) -> bool:
        """Whether somebody may decide about each result, so that the trial must not run ahead."""
        if trial.stopping_criterion or not isinstance(self.stopper, (NoopStopper, TimeoutStopper)):
            return True
        return self.scheduler.may_act()

    def _leave(self, trial: Trial, status: str, gracefully: bool) -> None:
        self._after_save.pop(trial.trial_id, None)
        if trial.status == Trial.RUNNING:
            for name, amount in trial.placement_group_factory.required_resources.items():
                self._used[name] = self._used.get(name, 0.0) - amount
            self._instructions.append(Release(trial, gracefully))
        if trial.trial_id in self._resource_changes:
            trial.placement_group_factory = self._resource_changes.pop(trial.trial_id)
        self._move(trial, status)

    def _terminate(self, trial: Trial) -> None:
        if trial.is_finished():
            return
        self._leave(trial, Trial.TERMINATED, gracefully=True)
        self._instructions.append(Notify("on_trial_complete", trial))

    def _on_failure(self, trial: Trial, event: TrialFailed) -> None:
        self._after_save.pop(trial.trial_id, None)
        trial.error, trial.error_text = event.error, event.text
        restores_left = int(os.environ.get("TUNE_RESTORE_RETRY_NUM", "0")) - trial.num_restore_failures
        if event.restoring and restores_left > 0:
            trial.num_restore_failures += 1
            retry = True
        else:
            trial.num_failures += 0 if event.preempted else 1
            retry = event.preempted or trial.max_failures < 0 or trial.num_failures <= trial.max_failures
        self._instructions.append(Record("error", trial, {"text": event.text, "error": event.error}))
        if retry and self.stop_reason is None:
            self._leave(trial, Trial.PENDING, gracefully=False)
            self._instructions.append(Notify("on_trial_recover", trial))
            return
        self._leave(trial, Trial.ERROR, gracefully=False)
        self.search_alg.on_trial_complete(trial.trial_id, error=True)
        self.scheduler.on_trial_error(self, trial)
        self._instructions.append(Notify("on_trial_error", trial))
        if self._fail_fast:
            self._stop_all(f"trial {trial} has failed and fail_fast is set")
            if self._fail_fast == "raise":
                self.fatal_error = event.error

    def _stop_all(self, reason: str) -> None:
        if self.stop_reason is None:
            self.stop_reason = reason
        self.search_alg._finished = True
        for status in (Trial.RUNNING, Trial.PAUSED, Trial.PENDING):
            for trial in list(self._by_status[status].values()):
                self.stop_trial(trial)

    def validate_state(self) -> None:
        """Raises AssertionError when the books do not agree; for tests."""
        for status, trials in self._by_status.items():
            assert all(trial.status == status for trial in trials.values()), status
        assert sum(len(trials) for trials in self._by_status.values()) == len(self._trials)
        used: dict[str, float] = {}
        for trial in self._by_status[Trial.RUNNING].values():
            for name, amount in trial.placement_group_factory.required_resources.items():
                used[name] = used.get(name, 0.0) + amount
        for name in {*used, *self._used}:
            assert abs(used.get(name, 0.0) - self._used.get(name, 0.0)) < 1e-6, (name, used, self._used)
        assert set(self._after_save) <= set(self._by_status[Trial.RUNNING])


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str)


def _copied_checkpoint(trial: Trial, source: Checkpoint, name: str) -> Checkpoint:
    """Where a copy of ``source`` will lie."""
    if trial.storage.remote is not None:
        return Checkpoint(f"{trial.path}/{name}", filesystem=trial.storage.remote)
    return Checkpoint(os.path.join(trial.local_path, name))
