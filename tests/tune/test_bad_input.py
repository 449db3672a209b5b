"""What cannot work is refused with the rule, the name and the value; finished results are kept."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from shoal import tune
from shoal.tune.error import InfeasibleTrialError
from shoal.tune.schedulers import ASHAScheduler

pytestmark = pytest.mark.usefixtures("cluster")


def run(function, tmp_path: Path, **arguments):
    return tune.run(function, storage_path=str(tmp_path), verbose=0, **arguments)


def one(config):
    return {"score": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "score", "mode": "best"}, "mode must be 'min' or 'max', but got mode='best'"),
        ({"num_samples": 0}, "num_samples must be an integer >= 1, or -1 for no limit, but got num_samples=0"),
        ({"num_samples": -2}, "but got num_samples=-2"),
        ({"config": {"x": tune.grid_search([])}}, "grid_search needs at least one value"),
        ({"config": [1]}, "config must be a dictionary"),
        ({"scheduler": ASHAScheduler()}, "needs a metric and a mode"),
        ({"scheduler": "nothing"}, "scheduler must be one of"),
        ({"search_alg": 3}, "search_alg must be a name"),
        ({"fail_fast": True, "max_failures": 2}, "max_failures must be 0 with fail_fast=True"),
        ({"stop": 3}, "stop must be a dictionary"),
        ({"resume": "yes"}, "resume must be True"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        run(one, tmp_path, **arguments)


def test_an_unknown_metric_names_the_reported_ones_and_keeps_results(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match=r"'loss', but trial .* has reported only .*'score'"):
        run(one, tmp_path, metric="loss", mode="min")
    grid = tune.Tuner(one, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    with pytest.raises(RuntimeError, match=r"'loss'.*Reported were .*'score'"):
        grid.get_best_result("loss", "min")


def test_a_nan_is_no_best_result(tmp_path: Path) -> None:
    analysis = run(
        lambda config: {"score": config["x"]}, tmp_path, config={"x": tune.grid_search([float("nan"), 1.0])}, metric="score"
    )
    assert analysis.best_config == {"x": 1.0}


def test_too_large_a_trial_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleTrialError, match="it could never start"):
        run(one, tmp_path, resources_per_trial={"cpu": 512})


def test_an_unpicklable_trainable_says_so(tmp_path: Path) -> None:
    lock = threading.Lock()

    def holds_a_lock(config):
        return lock

    with pytest.raises(TypeError, match="'holds_a_lock' cannot be pickled"):
        run(holds_a_lock, tmp_path)


def test_a_callback_that_cannot_be_pickled_is_found(tmp_path: Path) -> None:
    callback = tune.Callback()
    callback.lock = threading.Lock()  # type: ignore[attr-defined]
    config = tune.RunConfig(storage_path=str(tmp_path), callbacks=[callback], verbose=0)
    with pytest.raises(TypeError, match=r"run_config\.callbacks cannot be pickled"):
        tune.Tuner(one, run_config=config).fit()


def test_a_trainable_must_be_one(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match="not registered"):
        run("nobody", tmp_path)
    with pytest.raises(tune.TuneError, match="must be a function"):
        run(3, tmp_path)
    with pytest.raises(ValueError, match="must take the config and nothing else"):
        run(lambda config, more: 1, tmp_path)
    with pytest.raises(ValueError, match="must return .* a dictionary or a number"):
        tune.Tuner(
            lambda config: "text",
            run_config=tune.RunConfig(
                storage_path=str(tmp_path), failure_config=tune.FailureConfig(fail_fast="raise"), verbose=0
            ),
        ).fit()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError, match="storage_path must be writable"):
        run(one, blocked / "below")


def test_report_outside_of_a_trial_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="inside of a trial"):
        tune.report({"score": 1})
    assert tune.get_checkpoint() is None
