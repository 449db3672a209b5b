"""The controller decides from events alone."""

from __future__ import annotations

from typing import Any

import pytest
from tests.tune.simulation import play

from shoal import tune
from shoal.tune.checkpoint import Checkpoint
from shoal.tune.error import InfeasibleTrialError, TuneError
from shoal.tune.execution.events import (
    Continue,
    Delete,
    Notify,
    Release,
    Save,
    Start,
    StopRequested,
    TrialEnded,
    TrialFailed,
    TrialReported,
    TrialSaved,
)
from shoal.tune.experiment import Trial
from shoal.tune.run_config import CheckpointConfig
from shoal.tune.search import Searcher, SearchGenerator


class Steps(tune.Trainable):
    def step(self) -> dict:
        return {}


def of(kind: type, instructions: list) -> list:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def report(trial: Trial, iteration: int = 1, checkpoint: str | None = None, **metrics: object) -> TrialReported:
    return TrialReported(
        trial.trial_id, {"training_iteration": iteration, **metrics}, Checkpoint(checkpoint) if checkpoint else None
    )


def test_as_many_trials_start_as_fit(make_controller) -> None:
    controller = make_controller({"x": tune.grid_search([1, 2, 3])}, cpus=2)
    started = of(Start, controller.fill())
    assert [start.trial.config["x"] for start in started] == [1, 2]
    ended = controller.handle(TrialEnded(started[0].trial.trial_id))
    assert [release.trial for release in of(Release, ended)] == [started[0].trial]
    assert [start.trial.config["x"] for start in of(Start, controller.fill())] == [3]


def test_trials_run_ahead_only_when_nobody_can_stop_them(make_controller) -> None:
    assert not of(Start, make_controller({"x": 1}).fill())[0].lockstep
    assert of(Start, make_controller({"x": 1}, experiment={"stop": {"x": 2}}).fill())[0].lockstep
    asha = tune.create_scheduler("asha", metric="x", mode="max")
    assert of(Start, make_controller({"x": 1}, scheduler=asha).fill())[0].lockstep


def test_a_threshold_ends_the_trial_and_marks_its_result(make_controller) -> None:
    controller = make_controller({}, experiment={"stop": {"nested/score": 5}})
    trial = of(Start, controller.fill())[0].trial
    assert of(Continue, controller.handle(report(trial, nested={"score": 4})))
    instructions = controller.handle(report(trial, 2, nested={"score": 5}))
    assert of(Release, instructions) and not of(Continue, instructions)
    assert trial.status == Trial.TERMINATED and trial.last_result["done"] is True
    assert controller.handle(report(trial, 3, nested={"score": 6})) == []  # late
    assert controller.is_finished()


def test_a_failed_trial_starts_again_from_its_last_checkpoint(make_controller) -> None:
    controller = make_controller({}, experiment={"max_failures": 1})
    trial = of(Start, controller.fill())[0].trial
    controller.handle(report(trial, 4, checkpoint="/somewhere/checkpoint_000000"))
    recovered = controller.handle(TrialFailed(trial.trial_id, ValueError("no"), "trace"))
    assert [notify.hook for notify in of(Notify, recovered)] == ["on_trial_recover"]
    again = of(Start, controller.fill())[0]
    assert again.checkpoint == Checkpoint("/somewhere/checkpoint_000000")
    assert again.counters is not None and again.counters["training_iteration"] == 4
    controller.handle(TrialFailed(trial.trial_id, ValueError("no"), "trace"))
    assert trial.status == Trial.ERROR and trial.num_failures == 2
    assert controller.is_finished()


def test_preemption_is_no_failure(make_controller) -> None:
    controller = make_controller({})
    trial = of(Start, controller.fill())[0].trial
    controller.handle(TrialFailed(trial.trial_id, ValueError("node gone"), "", preempted=True))
    assert (trial.status, trial.num_failures) == (Trial.PENDING, 0)


def test_fail_fast_ends_everything(make_controller) -> None:
    controller = make_controller({"x": tune.grid_search([1, 2, 3])}, fail_fast="raise")
    first = of(Start, controller.fill())[0].trial
    error = ValueError("no")
    controller.handle(TrialFailed(first.trial_id, error, ""))
    assert controller.is_finished() and controller.fatal_error is error
    assert [trial.status for trial in controller.get_trials()] == [Trial.ERROR, Trial.TERMINATED, Trial.TERMINATED]


def test_only_the_best_checkpoints_are_kept_and_always_the_latest(make_controller) -> None:
    keep = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score", checkpoint_score_order="min")
    controller = make_controller({}, experiment={"checkpoint_config": keep})
    trial = of(Start, controller.fill())[0].trial
    deleted = []
    for iteration, score in enumerate([3.0, 1.0, 2.0, 9.0], start=1):
        deleted += of(Delete, controller.handle(report(trial, iteration, checkpoint=f"/c/{iteration}", score=score)))
    assert [delete.checkpoint.path for delete in deleted] == ["/c/1", "/c/3"]
    assert trial.checkpoint == Checkpoint("/c/4")


def test_a_class_is_saved_before_it_is_paused(make_controller) -> None:
    class PauseAfterFirst(tune.schedulers.FIFOScheduler):
        def on_trial_result(self, controller, trial, result):
            return self.PAUSE if result["training_iteration"] == 1 else self.CONTINUE

    controller = make_controller({}, run=Steps, scheduler=PauseAfterFirst())
    trial = of(Start, controller.fill())[0].trial
    paused = controller.handle(report(trial, 1))
    assert of(Save, paused) and not of(Release, paused)
    controller.handle(TrialSaved(trial.trial_id, Checkpoint("/c/0")))
    assert trial.status == Trial.PAUSED
    assert of(Start, controller.fill())[0].checkpoint == Checkpoint("/c/0")


def test_checkpoints_at_a_frequency_and_at_the_end(make_controller) -> None:
    config = CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True)
    controller = make_controller({}, run=Steps, experiment={"checkpoint_config": config, "stop": {"training_iteration": 3}})
    trial = of(Start, controller.fill())[0].trial
    assert of(Continue, controller.handle(report(trial, 1)))
    assert of(Save, controller.handle(report(trial, 2)))
    assert of(Continue, controller.handle(TrialSaved(trial.trial_id, Checkpoint("/c/0"))))
    last = controller.handle(report(trial, 3))
    assert of(Save, last) and not of(Release, last)
    assert of(Release, controller.handle(TrialSaved(trial.trial_id, Checkpoint("/c/1"))))


def test_a_result_without_the_metric_names_what_was_reported(make_controller, monkeypatch) -> None:
    monkeypatch.delenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", raising=False)
    controller = make_controller({}, metric="accuracy")
    trial = of(Start, controller.fill())[0].trial
    with pytest.raises(TuneError, match=r"needs the metric 'accuracy'.*has reported only \['loss', 'training_iteration'\]"):
        controller.handle(report(trial, loss=1))
    monkeypatch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    assert of(Continue, controller.handle(report(trial, loss=1)))


def test_a_trial_that_can_never_start_is_an_error(make_controller) -> None:
    controller = make_controller({}, cpus=2, experiment={"resources_per_trial": {"cpu": 3}})
    with pytest.raises(InfeasibleTrialError, match=r"asks for \{'CPU': 3.0\}, but the cluster has \{'CPU': 2\}"):
        controller.fill()


def test_stopping_ends_waiting_and_running_trials(make_controller) -> None:
    controller = make_controller({"x": tune.grid_search([1, 2, 3, 4])})
    controller.fill()
    instructions = controller.handle(StopRequested("enough"))
    assert len(of(Release, instructions)) == 2 and controller.is_finished()
    assert all(trial.status == Trial.TERMINATED for trial in controller.get_trials())


def test_trials_cost_the_controller_less_than_two_ms_each(make_controller) -> None:
    import time

    controller = make_controller({"x": tune.uniform(0, 1)}, experiment={"num_samples": 2000})
    started = time.process_time()
    play(controller, lambda config, iteration: config["x"], iterations=1, checkpoints=False)
    assert (time.process_time() - started) / 2000 < 0.002


class SaysNothing(Searcher):
    """Suggests nothing so many times, then one configuration, then ends."""

    def __init__(self, silent: int) -> None:
        super().__init__(metric="score", mode="max")
        self.silent = silent
        self.asked = 0

    def suggest(self, trial_id: str) -> Any:
        self.asked += 1
        if self.asked <= self.silent:
            return None
        return {"x": 1} if self.asked == self.silent + 1 else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Learns nothing."""


def test_a_searcher_that_says_nothing_for_a_while_is_asked_again(make_controller) -> None:
    controller = make_controller({}, search_alg=SearchGenerator(SaysNothing(20)), experiment={"num_samples": 5})
    assert play(controller, lambda config, iteration: 1.0, 1) and len(controller.get_trials()) == 1
    controller = make_controller({}, search_alg=SearchGenerator(SaysNothing(10**9)), experiment={"num_samples": 5})
    with pytest.raises(tune.TuneError, match="SaysNothing suggests no configuration although no trial is running"):
        controller.fill()
