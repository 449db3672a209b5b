"""Searchers suggest inside of their space and learn; wrappers limit and repeat."""

from __future__ import annotations

import pickle

import optuna
import pytest

from shoal import tune
from shoal.tune.experiment import Experiment
from shoal.tune.search import ConcurrencyLimiter, Repeater, Searcher, SearchGenerator
from shoal.tune.search.optuna import OptunaSearch


class Fixed(Searcher):
    def __init__(self):
        super().__init__("score", "max")
        self.made = 0
        self.told = []

    def suggest(self, trial_id):
        self.made += 1
        return {"x": self.made}

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.told.append((trial_id, result and result["score"], error))


def test_a_limiter_waits_for_a_trial_to_end() -> None:
    limiter = ConcurrencyLimiter(Fixed(), max_concurrent=2)
    assert [limiter.suggest("a"), limiter.suggest("b"), limiter.suggest("c")] == [{"x": 1}, {"x": 2}, None]
    limiter.on_trial_complete("a", {"score": 1})
    assert limiter.suggest("c") == {"x": 3}


def test_a_batch_is_told_when_it_is_complete() -> None:
    limiter = ConcurrencyLimiter(Fixed(), max_concurrent=2, batch=True)
    limiter.suggest("a"), limiter.suggest("b")
    limiter.on_trial_complete("a", {"score": 1})
    assert limiter.searcher.told == [] and limiter.suggest("c") is None
    limiter.on_trial_complete("b", {"score": 2})
    assert [told[0] for told in limiter.searcher.told] == ["a", "b"]


def test_a_repeater_tells_the_mean() -> None:
    repeater = Repeater(Fixed(), repeat=3)
    suggestions = [repeater.suggest(name) for name in "abc"]
    assert [suggestion["x"] for suggestion in suggestions] == [1, 1, 1]
    assert [suggestion["__trial_index__"] for suggestion in suggestions] == [0, 1, 2]
    for name, score in zip("abc", [1.0, 2.0, 6.0], strict=True):
        repeater.on_trial_complete(name, {"score": score})
    assert repeater.searcher.told == [("a", 3.0, False)]


def test_wrappers_that_take_over_a_state_take_its_limits_too() -> None:
    limiter = ConcurrencyLimiter(Fixed(), max_concurrent=1)
    limiter.suggest("a")
    restored = ConcurrencyLimiter(Fixed(), max_concurrent=5)
    restored.set_state(limiter.get_state())
    assert restored.suggest("b") is None
    repeater = Repeater(Fixed(), repeat=2, set_index=False)
    repeater.suggest("a")
    again = Repeater(Fixed(), repeat=7)
    again.set_state(repeater.get_state())
    assert [again.suggest(name) for name in "bc"] == [{"x": 1}, {"x": 2}]


def test_a_search_is_finished_with_its_last_trial() -> None:
    search = SearchGenerator(Repeater(Fixed(), repeat=2))
    assert not search.is_finished()
    search.add_configurations(Experiment("test", lambda config: None, num_samples=3))
    made = []
    while not search.is_finished():
        made.append(search.next_trial())
    assert [trial.config["x"] for trial in made] == [1, 1, 2]


def test_tpe_beats_random_search_on_average() -> None:
    def best_of(sampler_of) -> float:
        total = 0.0
        for seed in range(10):
            search = OptunaSearch({"x": tune.uniform(-5, 5), "y": tune.uniform(-5, 5)}, "loss", "min", sampler=sampler_of(seed))
            losses = []
            for number in range(40):
                point = search.suggest(str(number))
                losses.append((point["x"] - 2) ** 2 + (point["y"] + 1) ** 2)
                search.on_trial_complete(str(number), {"loss": losses[-1]})
            total += min(losses)
        return total / 10

    tpe = best_of(lambda seed: optuna.samplers.TPESampler(seed=seed))
    assert tpe < best_of(lambda seed: optuna.samplers.RandomSampler(seed=seed))


def test_optuna_takes_nested_spaces_constants_and_points_first() -> None:
    space = {"a": {"b": tune.quniform(0, 1, 0.25), "c": 7}, "d": tune.lograndint(1, 100)}
    search = OptunaSearch(metric="m", mode="max", points_to_evaluate=[{"a": {"b": 0.5}, "d": 3}], seed=0)
    assert search.set_search_properties(None, None, space)
    assert search.suggest("0") == {"a": {"b": 0.5, "c": 7}, "d": 3}
    later = search.suggest("1")
    assert later["a"]["b"] in (0, 0.25, 0.5, 0.75, 1.0) and 1 <= later["d"] < 100


def test_optuna_runs_conditional_spaces_and_several_objectives() -> None:
    def space(trial):
        if trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_float("a/x", 0, 1)
        return {"fixed": 1}

    search = OptunaSearch(space, metric=["m", "n"], mode=["max", "min"], seed=0)
    for number in range(8):
        config = search.suggest(str(number))
        assert ("a" in config) == (config["kind"] == "a") and config["fixed"] == 1
        search.on_trial_complete(str(number), {"m": number, "n": -number})
    assert search._study.best_trials[0].values == [7, -7]


def test_optuna_goes_on_from_its_saved_state() -> None:
    def continued(state: bytes | None) -> list:
        search = OptunaSearch({"x": tune.uniform(0, 1)}, "m", "max", seed=1)
        points = []
        for number in range(12):
            if number == 6 and state is None:
                search2 = OptunaSearch({"x": tune.uniform(0, 1)}, "m", "max")
                search2.set_state(pickle.loads(pickle.dumps(search.get_state())))
                search = search2
            points.append(search.suggest(str(number))["x"])
            search.on_trial_complete(str(number), {"m": points[-1]})
        return points

    assert continued(None) == continued(b"never saved")


def test_optuna_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="grid_search is for grid and random search"):
        OptunaSearch({"x": tune.grid_search([1])}, "m", "max")
    with pytest.raises(ValueError, match="does not draw from Function"):
        OptunaSearch({"x": tune.sample_from(lambda: 1)}, "m", "max")
    with pytest.raises(ValueError, match="needs a space with at least one domain"):
        OptunaSearch(metric="m", mode="max").set_search_properties(None, None, {"x": 1})


@pytest.mark.parametrize(("name", "package"), [("ax", "ax-platform"), ("nevergrad", "nevergrad"), ("bohb", "ConfigSpace")])
def test_a_missing_library_is_named(name: str, package: str, monkeypatch) -> None:
    import sys

    for module in ("ax", "ax.service", "ax.service.ax_client", "nevergrad", "ConfigSpace"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {package}"):
        tune.create_searcher(name)


@pytest.mark.usefixtures("cluster")
def test_a_search_learns_through_a_run(tmp_path) -> None:
    analysis = tune.run(
        lambda config: {"loss": (config["x"] - 3) ** 2},
        config={"x": tune.uniform(-10, 10)},
        search_alg=OptunaSearch(seed=0),
        metric="loss",
        mode="min",
        num_samples=25,
        max_concurrent_trials=2,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert len(analysis.trials) == 25 and analysis.best_result["loss"] < 1


@pytest.mark.usefixtures("cluster")
def test_configurations_are_complete_and_folders_are_named_after_what_was_drawn(tmp_path) -> None:
    seen = []
    analysis = tune.run(
        lambda config: seen.append(config) or {"loss": config["net"]["list"][0]},
        config={"net": {"list": [tune.uniform(0, 1), 3], "constant": 5}, "top": "x"},
        search_alg="optuna",
        metric="loss",
        mode="min",
        storage_path=str(tmp_path),
        verbose=0,
    )
    trial = analysis.trials[0]
    assert trial.config["net"]["constant"] == 5 and trial.config["net"]["list"][1] == 3 and trial.config["top"] == "x"
    assert list(trial.evaluated_params) == ["net/list"]
    assert trial.experiment_tag.startswith("1_list=")
