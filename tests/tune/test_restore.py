"""A killed run goes on where it was: finished trials stay finished, and the best is the same."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from shoal import tune
from shoal.tune.search import BasicVariantGenerator

pytestmark = pytest.mark.usefixtures("cluster")

PROGRAM = """
import sys, time
from pathlib import Path
import shoal
from shoal import tune
from shoal.tune.search import BasicVariantGenerator

marks = Path(sys.argv[2])

def train(config):
    for i in range(3):
        time.sleep(0.01)
        tune.report({"score": config["x"] + i})
    with open(marks / str(config["x"]), "a") as file:
        file.write("x")


shoal.init(num_cpus=2)
config = tune.RunConfig(name="killed", storage_path=sys.argv[1], verbose=0)
tune.Tuner(train, param_space={"x": tune.grid_search(list(range(40)))}, run_config=config).fit()
"""


def finished(experiment: Path) -> int:
    files = list(experiment.glob("experiment_state-*.json"))
    return files[0].read_text().count('"status": "TERMINATED"') if files else 0


@pytest.mark.parametrize("kill_after", [1, 15])
def test_a_kill_in_the_middle_costs_no_finished_trial(tmp_path: Path, kill_after: int) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), str(marks)])
    experiment = tmp_path / "killed"
    deadline = time.monotonic() + 30
    while finished(experiment) < kill_after and time.monotonic() < deadline:
        time.sleep(0.005)  # another process writes the log: there is no event to wait for
    program.send_signal(signal.SIGKILL)
    program.wait()
    done_before = finished(experiment)
    assert kill_after <= done_before < 40

    def train_again(config):
        for i in range(3):
            tune.report({"score": config["x"] + i})
        with open(marks / str(config["x"]), "a") as file:
            file.write("y")

    restored = tune.Tuner.restore(str(experiment), train_again)
    assert len(restored.get_results()) >= done_before
    grid = restored.fit()
    assert len(grid) == 40 and grid.num_terminated == 40 and not grid.errors
    assert grid.get_best_result("score", "max").config == {"x": 39}
    again = Counter("".join(file.read_text() for file in marks.iterdir()))
    assert again["y"] == 40 - done_before


def test_each_of_many_kills_costs_a_trial_one_result_at_most() -> None:
    """The drill of the benchmarks in short: one search is killed twice."""
    file = Path(__file__).parents[2] / "benchmarks" / "tune_restore.py"
    spec = importlib.util.spec_from_file_location("tune_restore", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    found = module.drill(kills=2, seed=1, trials=12)
    assert found["restored"] == 2
    assert found["finished before the last start"] >= 2
    assert found["finished trials run again"] == 0


def test_failed_trials_are_resumed_or_restarted_as_asked(tmp_path: Path) -> None:
    marker = tmp_path / "works-now"

    def fails_at_first(config):
        if config["x"] == 1 and not marker.exists():
            raise ValueError("not yet")
        return {"score": config["x"]}

    arguments = {
        "name": "again",
        "config": {"x": tune.grid_search([0, 1, 2])},
        "storage_path": str(tmp_path),
        "verbose": 0,
    }
    first = tune.run(fails_at_first, raise_on_failed_trial=False, **arguments)
    assert Counter(trial.status for trial in first.trials) == {"TERMINATED": 2, "ERROR": 1}
    skipped = tune.Tuner.can_restore(str(tmp_path / "again"))
    assert not skipped  # tune.run leaves no tuner.pkl
    marker.touch()
    again = tune.run(fails_at_first, resume="AUTO+ERRORED_ONLY", **arguments)
    assert Counter(trial.status for trial in again.trials) == {"TERMINATED": 3}
    assert [trial.trial_id for trial in again.trials] == [trial.trial_id for trial in first.trials]


def test_trials_that_go_on_ask_for_the_resources_of_the_new_run_and_callbacks_see_them_before_new_ones(tmp_path: Path) -> None:
    class StopsEarly(tune.Callback):
        def on_step_end(self, iteration, trials, **info):
            raise RuntimeError("stopped")

    class Remembers(tune.Callback):
        seen = None

        def on_step_begin(self, iteration, trials, **info):
            self.seen = len(trials) if self.seen is None else self.seen

    arguments = {
        "config": {"x": tune.grid_search([0, 1, 2])},
        "storage_path": str(tmp_path),
        "name": "again",
        "search_alg": BasicVariantGenerator(max_concurrent=1),
        "verbose": 0,
    }
    with pytest.raises(RuntimeError, match="stopped"):
        tune.run(lambda config: {"score": 1}, callbacks=[StopsEarly()], **arguments)
    remembers = Remembers()
    arguments["search_alg"] = BasicVariantGenerator(max_concurrent=1)
    again = tune.run(
        lambda config: {"score": 1}, resume=True, resources_per_trial={"cpu": 2}, callbacks=[remembers], **arguments
    )
    assert [trial.placement_group_factory.required_resources for trial in again.trials] == [{"CPU": 2}] * 3
    assert remembers.seen == 1


def test_a_restarted_trial_is_a_new_one_in_the_place_of_the_old(tmp_path: Path) -> None:
    marker = tmp_path / "works-now"

    def fails_at_first(config):
        tune.report({"score": config["x"], "is_new": tune.get_checkpoint() is None})
        if config["x"] == 1 and not marker.exists():
            raise ValueError("not yet")

    tuner = tune.Tuner(
        fails_at_first,
        param_space={"x": tune.grid_search([0, 1, 2])},
        tune_config=tune.TuneConfig(search_alg=BasicVariantGenerator(max_concurrent=1)),
        run_config=tune.RunConfig(name="again", storage_path=str(tmp_path), verbose=0),
    )
    first = tuner.fit()
    marker.touch()
    again = tune.Tuner.restore(str(tmp_path / "again"), fails_at_first, restart_errored=True).fit()
    assert not again.errors and [result.config["x"] for result in again] == [0, 1, 2]
    assert [a.metrics["trial_id"] == b.metrics["trial_id"] for a, b in zip(first, again, strict=True)] == [True, False, True]
    assert again[1].path != first[1].path and again[1].metrics["training_iteration"] == 1
    read = tune.Tuner.restore(str(tmp_path / "again"), fails_at_first).get_results()
    assert [result.path for result in read] == [result.path for result in again] and not read.errors


def test_a_torn_last_line_is_ignored_and_a_damaged_one_named(tmp_path: Path) -> None:
    config = tune.RunConfig(name="torn", storage_path=str(tmp_path), verbose=0)
    tune.Tuner(lambda config: {"score": 1}, run_config=config).fit()
    (log,) = (tmp_path / "torn").glob("experiment_state-*.json")
    complete = log.read_text()
    log.write_text(complete + '{"kind": "result", "id": "x')
    assert len(tune.Tuner.restore(str(tmp_path / "torn"), lambda config: 1).get_results()) == 1
    log.write_text("rubbish\n" + complete)
    with pytest.raises(tune.TuneError, match="the experiment is damaged: .*line 1"):
        tune.Tuner.restore(str(tmp_path / "torn"), lambda config: 1)
    (tmp_path / "torn" / "tuner.pkl").write_bytes(b"rubbish")
    with pytest.raises(tune.TuneError, match=r"damaged: .*tuner\.pkl"):
        tune.Tuner.restore(str(tmp_path / "torn"), lambda config: 1)
    with pytest.raises(ValueError, match="no experiment that can be restored"):
        tune.Tuner.restore(str(tmp_path / "nothing"), lambda config: 1)
