"""Schedulers stop, pause and clone the right trials; no process runs here."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
from tests.tune.simulation import play

from shoal import tune
from shoal.tune.execution.events import Copy, TrialReported
from shoal.tune.experiment import Trial
from shoal.tune.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    PopulationBasedTrainingReplay,
    ResourceChangingScheduler,
)
from shoal.tune.schedulers.pb2 import PB2
from shoal.tune.schedulers.pbt import explore


def growing(config: dict, iteration: int) -> float:
    return config["x"] * iteration


def results_by_x(controller, reported: dict[str, int]) -> dict:
    return {trial.config["x"]: reported[trial.trial_id] for trial in controller.get_trials()}


def test_asha_gives_the_best_trial_all_its_iterations_and_the_worst_few(make_controller) -> None:
    scheduler = ASHAScheduler(metric="score", mode="max", max_t=16, grace_period=1, reduction_factor=2)
    order = [8, 1, 7, 2, 6, 3, 5, 4]
    controller = make_controller({"x": tune.grid_search(order)}, scheduler=scheduler)
    reported = results_by_x(controller, play(controller, growing, 16))
    assert reported[8] == 16
    assert reported[1] == 1
    assert sum(reported.values()) < 8 * 16 / 2


def test_asha_lets_the_first_at_a_rung_pass_and_judges_one_rung_a_report(make_controller) -> None:
    scheduler = ASHAScheduler(metric="score", mode="min", max_t=100, grace_period=1, reduction_factor=10)
    controller = make_controller({"x": tune.grid_search([1, 2, 3])}, cpus=3, scheduler=scheduler)
    controller.fill()
    first, second, _ = controller.get_trials()
    assert scheduler.on_trial_result(controller, first, {"training_iteration": 1, "score": 5}) == "CONTINUE"
    # Reports at 10 and at 11: the higher rung first, the skipped one at the next report.
    assert scheduler.on_trial_result(controller, second, {"training_iteration": 10, "score": 9}) == "CONTINUE"
    assert scheduler.on_trial_result(controller, second, {"training_iteration": 11, "score": 9}) == "STOP"


def test_asha_stops_exactly_what_lies_below_the_percentile_of_those_before(make_controller) -> None:
    generator = random.Random(4)
    for factor in (1.5, 2, 3, 4):
        scheduler = ASHAScheduler(metric="score", mode="max", max_t=100, grace_period=1, reduction_factor=factor)
        controller = make_controller(
            {"x": tune.uniform(0, 1)}, scheduler=scheduler, cpus=60, experiment={"num_samples": 60}, max_pending=60
        )
        controller.fill()
        before: list[float] = []
        for trial in controller.get_trials():
            score = generator.choice([generator.random(), 0.5, math.nan, math.inf])
            finite = [one for one in before if math.isfinite(one)]
            stops = bool(finite) and (score if score == score else -math.inf) < np.percentile(finite, (1 - 1 / factor) * 100)
            before.append(score)
            controller.handle(TrialReported(trial.trial_id, {"training_iteration": 1, "score": score}))
            assert (trial.status == Trial.TERMINATED) == stops
        assert 5 < sum(trial.status == Trial.TERMINATED for trial in controller.get_trials()) < 55


def test_the_median_rule_stops_what_is_below_the_others(make_controller) -> None:
    scheduler = MedianStoppingRule("training_iteration", "score", "max", grace_period=2, min_samples_required=3)
    controller = make_controller({"x": tune.grid_search([4, 4, 4, 0])}, cpus=4, scheduler=scheduler)
    reported = play(controller, growing, 6)
    assert [reported[trial.trial_id] for trial in controller.get_trials()] == [6, 6, 6, 2]


def test_the_median_rule_compares_the_best_with_the_median_of_running_means_also_of_trials_that_were_set_back() -> None:
    generator = random.Random(7)
    rule = MedianStoppingRule("time", "score", "max", grace_period=2, min_samples_required=3)
    trials = [SimpleNamespace(trial_id=str(number)) for number in range(12)]
    times = [0.0] * len(trials)
    seen: list[list[tuple[float, float]]] = [[] for _ in trials]
    decisions = []
    running = set(range(len(trials)))
    while running:
        number = generator.choice(sorted(running))
        times[number] += 1 if times[number] < 3 or generator.random() < 0.9 else -2  # from an earlier checkpoint
        time, score = times[number], generator.gauss(number / 10, 1)
        decision = rule.on_trial_result(None, trials[number], {"time": time, "score": score})
        seen[number].append((time, score))
        counted = [[score for at, score in other if 2 <= at <= time] for other in seen if other is not seen[number] and other]
        means = [float(np.mean(scores)) for scores in counted if scores]
        lost = time >= 2 and len(means) >= 3 and max(score for _, score in seen[number]) < np.median(means)
        assert decision == ("STOP" if lost else "CONTINUE")
        decisions.append(decision)
        if lost or time > 20:
            running.remove(number)
    assert 3 <= decisions.count("STOP") < 12


def test_a_trial_that_is_as_good_as_all_others_is_not_stopped_by_rounding() -> None:
    rule = MedianStoppingRule("time", "score", "max", grace_period=0, min_samples_required=1)
    trials = [SimpleNamespace(trial_id=str(number)) for number in range(3)]
    for time in range(1, 200):
        for trial in trials:
            assert rule.on_trial_result(None, trial, {"time": time, "score": 0.1}) == "CONTINUE"


@pytest.mark.parametrize("cpus", [2, 30])
def test_hyperband_halves_each_bracket_and_finds_the_best(make_controller, cpus: int) -> None:
    scheduler = HyperBandScheduler(metric="score", mode="max", max_t=9, reduction_factor=3)
    controller = make_controller({"x": tune.grid_search(list(range(17)))}, cpus=cpus, scheduler=scheduler)
    reported = results_by_x(controller, play(controller, growing, 9))
    assert reported[16] == 9
    # The first bracket has 9 trials: all run 1 iteration, 3 run 3 more, 1 runs to the end.
    assert sorted(reported[x] for x in range(9))[:6] == [1] * 6
    assert all(trial.status == Trial.TERMINATED for trial in controller.get_trials())


def test_pbt_moves_the_checkpoint_and_the_changed_configuration_of_a_better_trial(make_controller) -> None:
    random.seed(0)
    scheduler = PopulationBasedTraining(
        "training_iteration",
        "score",
        "max",
        perturbation_interval=2,
        hyperparam_mutations={"x": [1, 2, 4, 8]},
        log_config=False,
    )
    controller = make_controller({"x": tune.grid_search([8, 1])}, cpus=2, scheduler=scheduler)
    controller.fill()
    good, bad = controller.get_trials()
    from shoal.tune.checkpoint import Checkpoint

    for trial, score in ((good, 10), (bad, 1)):
        for iteration in (1, 2):
            event = TrialReported(
                trial.trial_id, {"training_iteration": iteration, "score": score}, Checkpoint(f"/{trial}/{iteration}")
            )
            instructions = controller.handle(event)
    copies = [instruction for instruction in instructions if isinstance(instruction, Copy)]
    assert [(copy.trial, copy.source) for copy in copies] == [(bad, Checkpoint(f"/{good}/2"))]
    assert bad.status == Trial.PAUSED and bad.config["x"] in (2, 4, 8) and "@perturbed" in bad.experiment_tag
    assert bad.checkpoint is not None and bad.checkpoint.path.endswith("checkpoint_000002")


def test_pbt_beats_its_population_without_exploits(make_controller) -> None:
    def best(interval: float) -> float:
        random.seed(1)
        np.random.seed(1)
        total: dict[str, float] = {}
        scheduler = PopulationBasedTraining(
            "training_iteration", "score", "max", interval, hyperparam_mutations={"x": tune.uniform(0, 10)}, log_config=False
        )
        controller = make_controller({"x": tune.uniform(0, 3)}, cpus=6, scheduler=scheduler, experiment={"num_samples": 6})

        def score(config: dict, iteration: int) -> float:
            return total.setdefault("x", 0) + config["x"]

        play(controller, score, 20)
        return max(trial.last_result["score"] for trial in controller.get_trials())

    assert best(4) > best(1000)


def test_exploring_shifts_lists_multiplies_numbers_and_keeps_integers() -> None:
    random.seed(2)
    for _ in range(30):
        changed, _ = explore(
            {"l": 2, "n": 10, "u": 1.0}, {"l": [1, 2, 3], "n": tune.randint(1, 99), "u": tune.uniform(0, 9)}, 0, (1.2, 0.8)
        )
        assert changed["l"] in (1, 3)
        assert changed["n"] in (12, 8) and isinstance(changed["n"], int)
        assert changed["u"] in (1.2, 0.8)


def test_a_replay_goes_through_the_recorded_configurations(make_controller, tmp_path) -> None:
    policy = tmp_path / "pbt_policy_x.txt"
    policy.write_text(
        '["z", "y", 1, 1, {"x": 0}, {"x": 9}]\n["b", "c", 2, 2, {"x": 1}, {"x": 5}]\n["a", "b", 3, 4, {"x": 5}, {"x": 7}]\n'
    )
    controller = make_controller({"x": 0}, scheduler=PopulationBasedTrainingReplay(str(policy)))
    seen: list[int] = []
    play(controller, lambda config, iteration: seen.append(config["x"]) or 0.0, 6)
    assert seen == [1, 1, 5, 5, 7, 7]


def test_pbt_refuses_a_searcher(make_controller) -> None:
    from shoal.tune.search._mock import _MockSuggestionAlgorithm

    scheduler = PopulationBasedTraining(metric="score", mode="max", hyperparam_mutations={"x": [1, 2]})
    controller = make_controller({}, scheduler=scheduler, search_alg=_MockSuggestionAlgorithm())
    with pytest.raises(ValueError, match="works with grid and random search only"):
        controller.fill()


def test_pb2_stays_inside_of_its_bounds_and_learns(make_controller) -> None:
    np.random.seed(0)
    random.seed(0)
    scheduler = PB2("training_iteration", "score", "max", 2, hyperparam_bounds={"x": [0.0, 1.0]}, log_config=False)
    controller = make_controller({"x": tune.uniform(0, 1)}, cpus=4, scheduler=scheduler, experiment={"num_samples": 4})
    play(controller, lambda config, iteration: iteration * config["x"], 12)
    assert all(0 <= trial.config["x"] <= 1 for trial in controller.get_trials())
    assert scheduler.debug_string() != "PopulationBasedTraining: 0 perturbs"


def test_a_trial_grows_into_what_others_have_left(make_controller) -> None:
    controller = make_controller({"x": 1}, cpus=4, scheduler=ResourceChangingScheduler())
    play(controller, growing, 3)
    assert controller.get_trials()[0].placement_group_factory.required_resources == {"CPU": 4.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ASHAScheduler(max_t=0), "max_t must be > 0, but got max_t=0"),
        (lambda: ASHAScheduler(reduction_factor=1), "reduction_factor must be > 1, but got reduction_factor=1"),
        (lambda: ASHAScheduler(mode="best"), "mode must be 'min' or 'max', but got mode='best'"),
        (lambda: PopulationBasedTraining(), "needs hyperparam_mutations"),
        (lambda: PB2(), "needs hyperparam_bounds"),
        (lambda: tune.create_scheduler("nothing"), "scheduler must be one of"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
