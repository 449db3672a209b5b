"""Grids are crossed with samples, and values that depend on others see them resolved."""

from __future__ import annotations

import pytest

from shoal import tune
from shoal.tune.experiment import Experiment
from shoal.tune.search import BasicVariantGenerator
from shoal.tune.search.variant_generator import RecursiveDependencyError, generate_variants


def trials_of(config: dict, num_samples: int = 1, **arguments):
    search = BasicVariantGenerator(**arguments)
    search.add_configurations(Experiment("test", lambda config: None, config=config, num_samples=num_samples))
    trials = list(iter(search.next_trial, None))
    assert len(trials) == search.total_samples
    return trials


def test_the_alphabetically_first_grid_varies_fastest() -> None:
    trials = trials_of({"b": tune.grid_search([1, 2]), "a": tune.grid_search(["x", "y"]), "c": 0})
    assert [(trial.config["a"], trial.config["b"]) for trial in trials] == [("x", 1), ("y", 1), ("x", 2), ("y", 2)]
    assert trials[3].experiment_tag == "3_a=y,b=2"
    assert trials[3].evaluated_params == {"a": "y", "b": 2}


def test_samples_multiply_grid_points_and_are_drawn_anew_for_each() -> None:
    trials = trials_of({"g": tune.grid_search([1, 2, 3]), "u": tune.uniform(0, 1)}, num_samples=4)
    assert len(trials) == 12
    assert len({trial.config["u"] for trial in trials}) == 12


def test_constant_grid_search_draws_once_for_each_sample() -> None:
    config = {"g": tune.grid_search([1, 2, 3]), "u": tune.uniform(0, 1), "d": tune.sample_from(lambda spec: spec.config.g * 10)}
    trials = trials_of(config, num_samples=2, constant_grid_search=True)
    assert [len({trial.config["u"] for trial in trials[start : start + 3]}) for start in (0, 3)] == [1, 1]
    assert [trial.config["d"] for trial in trials[:3]] == [10, 20, 30]


def test_dependent_values_are_found_in_nested_dictionaries_and_lists() -> None:
    config = {
        "top": tune.sample_from(lambda spec: spec.config.inner.list[1] + spec["inner"]["x"]),
        "inner": {"x": tune.sample_from(lambda config: config["base"] + 1), "list": [1, tune.choice([5])]},
        "base": tune.grid_search([1, 10]),
    }
    assert [trial.config["top"] for trial in trials_of(config)] == [7, 16]


def test_values_that_wait_for_each_other_are_an_error() -> None:
    config = {"a": tune.sample_from(lambda spec: spec.config.b), "b": tune.sample_from(lambda spec: spec.config.a)}
    with pytest.raises(RecursiveDependencyError, match="`a` recursively depends on `b`"):
        list(generate_variants({"config": config}))


def test_points_to_evaluate_come_first_and_take_the_place_of_a_sample() -> None:
    config = {"g": tune.grid_search([1, 2, 3]), "u": tune.uniform(0, 1)}
    trials = trials_of(config, num_samples=2, points_to_evaluate=[{"g": 2, "u": 0.5}])
    assert [trial.config["g"] for trial in trials] == [2, 1, 2, 3]
    assert trials[0].config["u"] == 0.5


def test_points_outside_of_the_space_are_tried_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = {"g": tune.grid_search([1, 2, 3]), "u": tune.uniform(0, 1), "c": 0}
    (trial,) = trials_of(config, points_to_evaluate=[{"g": 7, "u": 2.0, "c": 1}])
    assert trial.config == {"g": 7, "u": 2.0, "c": 1}
    for told in (
        "g=7, which is not in the space: {'grid_search': [1, 2, 3]}",
        "u=2.0, which",
        "c=1, which is not in the space: 0",
    ):
        assert f"points_to_evaluate has {told}" in caplog.text


def test_trials_do_not_share_what_one_of_them_changes() -> None:
    first, second = trials_of({"nested": {"list": [1, 2]}, "g": tune.grid_search([1, 2])})
    first.config["nested"]["list"].append(3)
    assert second.config["nested"]["list"] == [1, 2]


def test_a_restored_generator_goes_on_with_the_next_grid_point() -> None:
    config = {"g": tune.grid_search(list(range(6)))}
    search = BasicVariantGenerator()
    search.set_state({"prefix": "abc", "made": 4})
    search.add_configurations(Experiment("test", lambda config: None, config=config))
    trials = list(iter(search.next_trial, None))
    assert [(trial.trial_id, trial.config["g"]) for trial in trials] == [("abc_00004", 4), ("abc_00005", 5)]


@pytest.mark.parametrize("grid", [[], "abc", 3])
def test_a_grid_needs_values(grid: object) -> None:
    with pytest.raises(ValueError, match="grid_search needs"):
        trials_of({"g": tune.grid_search(grid)})
