"""What every searcher must do, over the real library of each: stay in its space, learn, go on from its state."""

from __future__ import annotations

import math
import pickle
import random
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pytest

from shoal import tune
from shoal.tune.search import ConcurrencyLimiter, Searcher, create_searcher

SPACE = {
    "net": {"x": tune.uniform(-5, 5), "units": tune.randint(1, 9)},
    "rate": tune.loguniform(1e-4, 1),
    "kind": tune.choice([None, "linear", (1, 2)]),
    "layers": [tune.uniform(0, 1), 3],
    "dropout": tune.quniform(0, 1, 0.25),
    "count": tune.lograndint(1, 100),
    "constant": 7,
}
REAL_SPACE = {
    "net": {"x": tune.uniform(-5, 5)},
    "rate": tune.loguniform(1e-4, 1),
    "layers": [tune.uniform(0, 1), 3],
    "dropout": tune.quniform(0, 1, 0.25),
    "constant": 7,
}
SEARCHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "optuna": ({"seed": 1}, SPACE),
    "hyperopt": ({"random_state_seed": 1, "n_initial_points": 5}, SPACE),
    "nevergrad": ({}, SPACE),
    "bohb": ({"seed": 1}, SPACE),
    "zoopt": ({}, SPACE),
    "bayesopt": ({"random_state": 1, "random_search_steps": 100}, REAL_SPACE),
}


@pytest.fixture(autouse=True)
def quiet_and_seeded() -> Any:
    np.random.seed(0)
    random.seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(params=sorted(SEARCHERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, **more: Any) -> Any:
    arguments, space = SEARCHERS[name]
    search = create_searcher(name, **{**arguments, **more})
    assert search.set_search_properties("loss", "min", space, num_samples=30)
    return search


def loss_of(config: dict[str, Any]) -> float:
    return (config["net"]["x"] - 2) ** 2 + (math.log10(config["rate"]) + 2) ** 2


def test_suggestions_lie_in_the_space_and_have_its_shape_and_plain_types(name: str) -> None:
    search = make(name)
    for number in range(12):
        config = search.suggest(str(number))
        assert set(config) == set(SEARCHERS[name][1]) and config["constant"] == 7
        assert -5 <= config["net"]["x"] <= 5 and type(config["net"]["x"]) is float
        assert 1e-4 <= config["rate"] <= 1
        assert 0 <= config["layers"][0] <= 1 and config["layers"][1] == 3
        assert config["dropout"] in (0, 0.25, 0.5, 0.75, 1.0)
        if "kind" in config:
            assert config["kind"] in SPACE["kind"].categories
            assert config["net"]["units"] in range(1, 9) and type(config["net"]["units"]) is int
            assert config["count"] in range(1, 100) and type(config["count"]) is int
        search.on_trial_complete(str(number), {"loss": loss_of(config), "training_iteration": 1})


def test_points_to_evaluate_come_first_and_as_they_are(name: str) -> None:
    first = {"net": {"x": 1.25, "units": 4}, "rate": 0.012345678901, "layers": [0.5, 3], "dropout": 0.25}
    more = {"kind": "linear", "count": 50} if "kind" in SEARCHERS[name][1] else {}
    if name == "bayesopt":
        first["net"] = {"x": 1.25}
    point = {**first, **more}
    config = make(name, points_to_evaluate=[point]).suggest("0")
    for key, value in point.items():
        assert config[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_failed_trials_and_scores_that_are_no_number_are_survived(name: str) -> None:
    search = make(name)
    outcomes: list[tuple[dict[str, Any] | None, bool]] = [
        (None, True),
        ({"loss": math.nan, "training_iteration": 1}, False),
        (None, False),
        ({"other": 1}, False),
        ({"loss": math.inf, "training_iteration": 1}, False),
    ]
    for number in range(15):
        config = search.suggest(str(number))
        result, error = outcomes[number] if number < 5 else ({"loss": loss_of(config), "training_iteration": 1}, False)
        if result is not None:
            search.on_trial_result(str(number), result)
        search.on_trial_complete(str(number), result, error)
    search.on_trial_complete("a stranger", {"loss": 1.0})


@pytest.mark.parametrize("name", sorted(set(SEARCHERS) - {"bayesopt"}))  # whose points take seconds; it has a test below
def test_later_suggestions_are_better_than_the_first(name: str) -> None:
    trials = 30
    search = create_searcher(name, **SEARCHERS[name][0])
    search.set_search_properties("score", "max", {key: tune.uniform(-5, 5) for key in "xyz"}, num_samples=trials)
    scores = []
    for number in range(trials):
        scores.append(-sum((value - 2) ** 2 for value in search.suggest(str(number)).values()))
        search.on_trial_complete(str(number), {"score": scores[-1], "training_iteration": 1})
    assert np.mean(scores[-trials // 3 :]) > np.mean(scores[: trials // 3])


def test_a_restored_searcher_knows_what_the_saved_one_knew(name: str) -> None:
    search = make(name)
    for number in range(8):
        config = search.suggest(str(number))
        if number < 6:
            search.on_trial_complete(str(number), {"loss": loss_of(config), "training_iteration": 1})
    state = pickle.loads(cloudpickle.dumps(search.get_state()))
    again = create_searcher(name, **SEARCHERS[name][0])
    again.set_state(state)
    for number in range(6, 8):
        again.on_trial_complete(str(number), {"loss": 1.0, "training_iteration": 1})
    assert 1e-4 <= again.suggest("after")["rate"] <= 1


def test_metric_and_mode_of_the_run_are_taken_also_with_a_space_of_its_own(name: str) -> None:
    key = "dim_dict" if name == "zoopt" else "space"
    search = create_searcher(name, **{**SEARCHERS[name][0], key: SEARCHERS[name][1]})
    assert not search.set_search_properties("loss", "min", {}, num_samples=5)
    assert (search.metric, search.mode) == ("loss", "min")
    assert search.suggest("0")["constant"] == 7


def test_what_is_no_space_is_refused(name: str) -> None:
    search = create_searcher(name, **SEARCHERS[name][0])
    with pytest.raises(RuntimeError, match="needs a space"):
        search.suggest("0")
    with pytest.raises(ValueError, match="grid_search is for grid and random search"):
        search.set_search_properties("loss", "min", {"x": tune.grid_search([1, 2])})
    with pytest.raises((ValueError, RuntimeError), match=r"at least one domain|only contains constants"):
        create_searcher(name, **SEARCHERS[name][0]).set_search_properties("loss", "min", {"x": 1})
    if name != "hyperopt":
        with pytest.raises(ValueError, match="does not draw from Float with Normal"):
            searcher = create_searcher(name, **SEARCHERS[name][0])
            searcher.set_search_properties("loss", "min", {"x": tune.randn(0, 1)}, num_samples=3)
            searcher.suggest("0")


# -- what is particular to one
def test_hyperopt_draws_conditional_spaces() -> None:
    space = {"kind": tune.choice([{"name": "a", "x": tune.uniform(0, 1)}, {"name": "b", "y": [1, tune.randint(2, 4)]}])}
    search = create_searcher("hyperopt", random_state_seed=0)
    search.set_search_properties("loss", "min", space)
    seen = [search.suggest(str(number))["kind"] for number in range(20)]
    assert {config["name"] for config in seen} == {"a", "b"}
    assert all(0 <= config["x"] <= 1 for config in seen if config["name"] == "a")


def test_nevergrad_takes_an_optimizer_with_named_dimensions() -> None:
    import nevergrad

    optimizer = nevergrad.optimizers.OnePlusOne(parametrization=2, budget=10)
    search = create_searcher("nevergrad", optimizer=optimizer, space=["a", "b"], metric="loss", mode="min")
    assert set(search.suggest("0")) == {"a", "b"}
    search.on_trial_complete("0", {"loss": 1.0})
    assert optimizer.num_tell == 1


def test_bohb_takes_conditional_spaces_and_learns_at_the_largest_budget() -> None:
    import ConfigSpace

    space = ConfigSpace.ConfigurationSpace({"kind": ["a", "b"], "x": (0.0, 1.0)}, seed=1)
    space.add(ConfigSpace.EqualsCondition(space["x"], space["kind"], "b"))
    search = create_searcher("bohb", space=space, metric="loss", mode="min", seed=1)
    for number in range(25):
        config = search.suggest(str(number))
        assert ("x" in config) == (config["kind"] == "b")
        for iteration in (1, 3):
            search.on_trial_result(str(number), {"loss": config.get("x", 2.0), "training_iteration": iteration})
        search.on_trial_complete(str(number), {"loss": config.get("x", 2.0), "training_iteration": 3})
    later = [search.suggest(f"later {number}") for number in range(10)]
    assert sum(config["kind"] == "b" for config in later) >= 6


def test_bayesopt_ends_when_it_only_repeats_itself() -> None:
    search = create_searcher("bayesopt", space={"x": (0.0, 1.0)}, metric="loss", mode="min", patience=2)
    search._next_values = lambda: {"x": 0.5}
    assert search.suggest("0") == {"x": 0.5}
    assert [search.suggest(str(number)) for number in range(1, 5)] == [None, None, None, Searcher.FINISHED]


def test_bayesopt_takes_points_that_agree_to_so_many_decimals_for_the_same() -> None:
    coarse = create_searcher("bayesopt", space={"x": (0.0, 1.0)}, metric="loss", mode="min", repeat_float_precision=1)
    drawn = iter([0.51, 0.52, 0.61])
    coarse._next_values = lambda: {"x": next(drawn)}
    assert [coarse.suggest(str(number)) for number in range(3)] == [{"x": 0.51}, None, {"x": 0.61}]
    with pytest.raises(ValueError, match="repeat_float_precision must be an integer >= 0, but got repeat_float_precision=-1"):
        create_searcher("bayesopt", repeat_float_precision=-1)


def test_bayesopt_learns_from_earlier_trials() -> None:
    search = create_searcher("bayesopt", space={"x": (0.0, 1.0)}, metric="loss", mode="min", random_search_steps=0)
    for number in range(11):
        search.add_evaluated_point({"x": number / 10}, (number / 10 - 0.3) ** 2)
    assert search.suggest("0")["x"] == pytest.approx(0.3, abs=0.1)


class _FakeAxClient:
    """Ax's service interface, as far as the adapter uses it."""

    def __init__(self, **arguments: Any) -> None:
        self._experiment: Any = None
        self.arguments = arguments
        self.seen: list[tuple[Any, ...]] = []

    def create_experiment(self, parameters: list[dict[str, Any]], **more: Any) -> None:
        self._experiment = (parameters, more)

    def attach_trial(self, parameters: dict[str, Any]) -> tuple[dict[str, Any], int]:
        self.seen.append(("attach", parameters))
        return parameters, 100

    def get_next_trial(self) -> tuple[dict[str, Any], int]:
        if len(self.seen) > 3:
            raise sys.modules["ax.exceptions.generation_strategy"].MaxParallelismReachedException
        self.seen.append(("next",))
        first = {"type": "choice", "values": [3]}
        return {p["name"]: p.get("bounds", p.get("values", first["values"]))[0] for p in self._experiment[0]}, len(self.seen)

    def complete_trial(self, trial_index: int, raw_data: dict[str, Any]) -> None:
        self.seen.append(("complete", trial_index, raw_data))

    def abandon_trial(self, trial_index: int, reason: str) -> None:
        self.seen.append(("abandon", trial_index))


@pytest.fixture
def fake_ax(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    client = types.ModuleType("ax.service.ax_client")
    client.AxClient = _FakeAxClient  # type: ignore[attr-defined]
    client.ObjectiveProperties = lambda minimize: ("minimize", minimize)  # type: ignore[attr-defined]
    exceptions = types.ModuleType("ax.exceptions.generation_strategy")
    exceptions.MaxParallelismReachedException = type("MaxParallelismReachedException", (Exception,), {})  # type: ignore[attr-defined]
    for module_name, module in (("ax.service.ax_client", client), ("ax.exceptions.generation_strategy", exceptions)):
        monkeypatch.setitem(sys.modules, module_name, module)
    return lambda **arguments: create_searcher("ax", **arguments)


def test_ax_is_told_space_objective_points_and_results(fake_ax: Callable[..., Any]) -> None:
    point = {"net": {"x": 1.0, "units": 2}, "rate": 0.1, "kind": None, "layers": [0.5, 3], "dropout": 0.5, "count": 3}
    search = fake_ax(points_to_evaluate=[point], outcome_constraints=["cost <= 1"])
    assert search.set_search_properties("loss", "min", SPACE)
    assert search.suggest("0")["net"] == {"x": 1.0, "units": 2}
    parameters, more = search._client._experiment
    by_name = {parameter["name"]: parameter for parameter in parameters}
    assert by_name["net/units"] == {
        "name": "net/units",
        "type": "range",
        "bounds": [1, 8],
        "value_type": "int",
        "log_scale": False,
    }
    assert by_name["rate"]["log_scale"] and by_name["kind"]["values"] == [None, "linear", (1, 2)]
    assert more["objectives"] == {"loss": ("minimize", True)}
    search.on_trial_complete("0", {"loss": 0.5, "cost": 2})
    second = search.suggest("1")
    assert second["net"] == {"x": -5.0, "units": 1} and second["constant"] == 7
    search.on_trial_complete("1", error=True)
    assert search._client.seen[1] == ("complete", 100, {"loss": (0.5, None), "cost": (2, None)})
    assert search._client.seen[-1] == ("abandon", 3)
    assert search.suggest("2") is None  # as many as Ax allows are open


class _FakeHebo:
    """HEBO's optimizer, as far as the adapter uses it: frames of points, losses of one column."""

    def __init__(self, space: list[dict[str, Any]], **arguments: Any) -> None:
        self.space, self.arguments, self.seen, self.asked = space, arguments, [], 0

    def suggest(self, n_suggestions: int) -> pd.DataFrame:
        self.asked += 1
        return pd.DataFrame(
            [
                {p["name"]: p["categories"][-1] if p["type"] == "cat" else p["lb"] for p in self.space}
                for _ in range(n_suggestions)
            ]
        )

    def observe(self, points: pd.DataFrame, losses: np.ndarray) -> None:
        assert set(points.columns) == {p["name"] for p in self.space} and losses.shape == (len(points), 1)
        self.seen += [(point["kind"], loss) for point, loss in zip(points.to_dict("records"), losses[:, 0], strict=True)]


@pytest.fixture
def fake_hebo(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    optimizer, design_space, torch = (types.ModuleType(name) for name in ("optimizer", "design_space", "torch"))
    optimizer.HEBO = _FakeHebo  # type: ignore[attr-defined]
    design_space.DesignSpace = lambda: types.SimpleNamespace(parse=lambda parameters: parameters)  # type: ignore[attr-defined]
    torch.manual_seed = lambda seed: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hebo.optimizers.hebo", optimizer)
    monkeypatch.setitem(sys.modules, "hebo.design_space.design_space", design_space)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return lambda **arguments: create_searcher("hebo", **arguments)


def test_hebo_is_asked_for_batches_and_told_losses(fake_hebo: Callable[..., Any]) -> None:
    point = {"net": {"x": 1.0, "units": 2}, "rate": 0.1, "kind": None, "layers": [0.5, 3], "dropout": 0.5, "count": 3}
    search = fake_hebo(points_to_evaluate=[point], random_state_seed=3, max_concurrent=2)
    assert search.set_search_properties("loss", "max", SPACE)
    assert search.suggest("0") == {**point, "constant": 7}
    search.on_trial_complete("0", {"loss": 0.5})
    by_name = {parameter["name"]: parameter for parameter in search._optimizer.space}
    assert by_name["net/x"] == {"name": "net/x", "type": "num", "lb": -5, "ub": 5}
    assert by_name["net/units"] == {"name": "net/units", "type": "int", "lb": 1, "ub": 8}
    assert by_name["rate"]["type"] == "pow" and by_name["count"] == {"name": "count", "type": "pow_int", "lb": 1, "ub": 99}
    assert by_name["kind"] == {"name": "kind", "type": "cat", "categories": [0, 1, 2]}
    batch = [search.suggest(str(number)) for number in (1, 2, 3)]
    assert batch[0]["kind"] == (1, 2) and batch[0]["net"] == {"x": -5.0, "units": 1} and batch[2] is None
    search.on_trial_complete("1", {"loss": 2.0})
    assert search.suggest("4") is None and search._optimizer.asked == 1  # the other one of the batch still runs
    search.on_trial_complete("2", error=True)
    assert search.suggest("5") is not None and search._optimizer.asked == 2
    assert search._optimizer.seen == [(0, -0.5), (2, -2.0)]


def test_hebo_learns_from_points_with_rewards_and_refuses_what_it_cannot_use(fake_hebo: Callable[..., Any]) -> None:
    space = {"kind": tune.choice(["a", "b"]), "x": tune.uniform(0, 1)}
    points = [{"kind": "b", "x": 0.5}, {"kind": "a", "x": 0.1}]
    search = fake_hebo(space=space, metric="loss", mode="min", points_to_evaluate=points, evaluated_rewards=[1.0, 3.0])
    search.suggest("0")
    assert search._optimizer.seen == [(1, 1.0), (0, 3.0)]
    with pytest.raises(ValueError, match="a number for each of points_to_evaluate, but got 1 for 2"):
        fake_hebo(points_to_evaluate=points, evaluated_rewards=[1.0])
    with pytest.raises(ValueError, match="max_concurrent must be an integer >= 1, but got max_concurrent=0"):
        fake_hebo(max_concurrent=0)


def test_hebo_takes_the_size_of_its_batches_from_a_limiter(fake_hebo: Callable[..., Any]) -> None:
    search = fake_hebo(space={"kind": tune.choice(["a"])}, metric="loss", mode="min", points_to_evaluate=[{"kind": "a"}] * 3)
    limiter = ConcurrencyLimiter(search, max_concurrent=2)
    assert [limiter.suggest(str(number)) is None for number in range(3)] == [False, False, True]


def test_hebo_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hebo.optimizers.hebo", None)
    with pytest.raises(ImportError, match="HEBOSearch needs HEBO: pip install HEBO"):
        create_searcher("hebo")


def test_hyperopt_gives_lists_back_as_lists() -> None:
    search = create_searcher("hyperopt", random_state_seed=0)
    search.set_search_properties("loss", "min", {"layers": tune.choice([[1, 2], [3, [4]]])})
    seen = [search.suggest(str(number))["layers"] for number in range(10)]
    assert all(layers in ([1, 2], [3, [4]]) for layers in seen)
