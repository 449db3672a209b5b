"""Tune in inline mode, where trials run in the driver, and what trials see of the driver elsewhere."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal import tune
from shoal.tune.schedulers import ASHAScheduler, PopulationBasedTraining


@pytest.fixture(params=[True, False], ids=["inline", "processes"])
def inline(request: pytest.FixtureRequest) -> Iterator[bool]:
    shoal.init(num_cpus=2, inline=request.param)
    yield request.param
    shoal.shutdown()


def threads() -> int:
    return sum(thread.name == "trainable" for thread in threading.enumerate())


def train(config: dict[str, Any]) -> None:
    Path("own").write_text(str(os.getpid()))
    if config["x"] == 2:
        raise ValueError("two is refused")
    for step in range(4):
        tune.report({"score": config["x"] * step, "directory": os.environ["TUNE_ORIG_WORKING_DIR"]})


def test_a_run_leaves_the_driver_where_it_was_and_trials_know_where_that_is(
    inline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    random.seed(3)
    grid = tune.Tuner(
        train,
        param_space={"x": tune.grid_search([1, 2, 3])},
        tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=ASHAScheduler(max_t=4)),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "results"), name="run", verbose=0),
    ).fit()
    assert Path.cwd() == tmp_path and "OMP_NUM_THREADS" not in os.environ and not threads()
    assert random.random() == random.Random(3).random()
    assert [type(error) for error in grid.errors] == [ValueError]
    best = grid.get_best_result()
    assert best.config == {"x": 3} and best.metrics["score"] == 9 and best.metrics["directory"] == str(tmp_path)
    assert (Path(best.path) / "own").read_text() == str(best.metrics["pid"])
    assert (best.metrics["pid"] == os.getpid()) == inline


def remembers(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    done = int((Path(checkpoint.path) / "step").read_text()) if checkpoint else 0
    for step in range(done + 1, 9):
        (Path.cwd() / "state").mkdir(exist_ok=True)
        (Path.cwd() / "state" / "step").write_text(str(step))
        tune.report({"score": config["rate"] * step}, checkpoint=tune.Checkpoint.from_directory(Path.cwd() / "state"))


def test_a_population_that_pauses_and_clones_leaves_no_thread_behind(inline: bool, tmp_path: Path) -> None:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"rate": [1.0, 2.0, 3.0]}
    )
    grid = tune.Tuner(
        remembers,
        param_space={"rate": tune.grid_search([1.0, 2.0, 3.0])},
        tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=scheduler),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="run", verbose=0),
    ).fit()
    assert not grid.errors and [result.metrics["training_iteration"] for result in grid] == [8, 8, 8]
    assert not threads()
