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
        lambda config: {"score": config["x"]},
        tmp_path,
        config={"x": tune.grid_search([float("nan"), 1.0])},
        metric="score",
        mode="max",
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


def test_without_a_mode_nobody_guesses_which_is_best(tmp_path: Path) -> None:
    analysis = run(one, tmp_path, metric="score")
    with pytest.raises(ValueError, match="best_trial needs a metric and a mode.*mode=None"):
        analysis.best_config
    with pytest.raises(ValueError, match="mode must be 'min' or 'max' when OptunaSearch searches for a metric"):
        run(one, tmp_path, metric="score", search_alg="optuna", config={"x": tune.uniform(0, 1)})
    with pytest.raises(ValueError, match="needs a metric and a mode"):
        run(one, tmp_path, metric="score", scheduler="asha")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tune.uniform(0, float("inf")), "uniform needs an upper bound, but got upper=inf"),
        (lambda: tune.uniform(float("-inf"), 0), "uniform needs a lower bound, but got lower=-inf"),
        (lambda: tune.uniform(float("nan"), 1), "bounds must be numbers, but got lower=nan"),
        (lambda: tune.loguniform(0, 1), "loguniform needs a lower bound > 0, but got lower=0"),
        (lambda: tune.loguniform(1, float("inf")), "loguniform needs an upper bound, but got upper=inf"),
        (lambda: tune.randint(3, 3), "upper must be > lower, but got lower=3, upper=3"),
        (lambda: tune.quniform(0, 1, 0), "q must be > 0, but got q=0"),
        (lambda: tune.randn(0, 0), "sd must be > 0, but got sd=0"),
        (lambda: tune.choice([]), "categories must hold at least one value"),
    ],
)
def test_a_space_that_is_empty_or_without_end_is_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_metric_that_is_no_number_is_named_with_its_value(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match="needs the metric 'score' as a number, but trial .* has reported 'high'"):
        run(lambda config: {"score": "high"}, tmp_path, metric="score", mode="max")


def test_a_trainable_that_never_reports_is_named_and_has_no_best_result(tmp_path: Path, caplog) -> None:
    config = tune.TuneConfig(metric="score", mode="max", num_samples=2)
    grid = tune.Tuner(
        lambda config: None, tune_config=config, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)
    ).fit()
    assert "needs the metric 'score', but none of its 2 trials has reported anything" in caplog.text
    with pytest.raises(RuntimeError, match="No best trial found for the metric 'score'"):
        grid.get_best_result()


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "median_stopping_rule", "pbt"])
def test_a_nan_is_the_worst_for_every_scheduler(scheduler: str, tmp_path: Path) -> None:
    arguments = {
        "asha": {"max_t": 4, "grace_period": 1, "reduction_factor": 2},
        "hyperband": {"max_t": 4, "reduction_factor": 2},
        "median_stopping_rule": {"grace_period": 1, "min_samples_required": 2, "time_attr": "training_iteration"},
        "pbt": {"perturbation_interval": 2, "hyperparam_mutations": {"x": [1.0, 2.0]}, "time_attr": "training_iteration"},
    }[scheduler]
    made = tune.create_scheduler(scheduler, **arguments)
    analysis = run(
        Counts,
        tmp_path,
        config={"x": tune.grid_search([2.0, 1.0, float("nan"), 3.0])},
        scheduler=made,
        metric="score",
        mode="max",
        stop={"training_iteration": 4},
        max_concurrent_trials=4 if scheduler == "hyperband" else 1,
    )
    assert analysis.best_result["score"] >= 8 and analysis.best_config["x"] in (1.0, 2.0, 3.0)
    for trial in analysis.trials:
        if trial.config["x"] != trial.config["x"] and scheduler in ("asha", "hyperband"):
            assert trial.last_result["training_iteration"] < 4


class Counts(tune.Trainable):
    def setup(self, config: dict) -> None:
        self.total = 0.0

    def step(self) -> dict:
        self.total += self.config["x"]
        return {"score": self.total}

    def save_checkpoint(self, checkpoint_dir: str) -> dict:
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: dict) -> None:
        self.total = checkpoint["total"]


def test_results_that_were_finished_before_a_trial_asks_for_too_much_are_kept(tmp_path: Path) -> None:
    asks = tune.with_resources(one, lambda config: {"cpu": config["cpus"]})
    tuner = tune.Tuner(
        asks,
        param_space={"cpus": tune.grid_search([1, 512])},
        run_config=tune.RunConfig(name="kept", storage_path=str(tmp_path), verbose=0),
    )
    with pytest.raises(InfeasibleTrialError, match=r"asks for \{'CPU': 512.*cluster has .*'CPU': 2"):
        tuner.fit()
    kept = tune.Tuner.restore(str(tmp_path / "kept"), asks).get_results()
    assert [result.metrics.get("score") for result in kept] == [1, None] and kept.num_terminated == 1
