"""Trials in processes: what functions and classes report arrives, with their checkpoints, and lies on disk as in Ray."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shoal
from shoal import train, tune
from shoal.air import session
from shoal.tune.experiment.trial import ExportFormat
from shoal.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from shoal.tune.search import BasicVariantGenerator

pytestmark = pytest.mark.usefixtures("cluster")


def test_whatever_a_function_does_with_a_number_is_reported(tmp_path: Path) -> None:
    def generates(config):
        yield {"score": 1}
        yield {"score": 2}

    def reports_in_every_spelling(config):
        tune.report({"score": 1})
        tune.report(score=2)
        train.report({"score": 3})
        session.report({"score": 4})

    for function, metric, last, count in (
        (lambda config: 7, "_metric", 7, 1),
        (lambda config: {"score": 5}, "score", 5, 1),
        (generates, "score", 2, 2),
        (reports_in_every_spelling, "score", 4, 4),
    ):
        analysis = tune.run(function, metric=metric, mode="max", storage_path=str(tmp_path), verbose=0)
        assert analysis.best_result[metric] == last
        assert analysis.best_result["training_iteration"] == count
        assert analysis.best_trial.status == "TERMINATED"


def test_files_lie_where_ray_puts_them(tmp_path: Path) -> None:
    def train_it(config):
        for i in range(3):
            tune.report({"score": i, "nested": {"value": np.float64(i)}})

    grid = tune.Tuner(
        train_it,
        param_space={"x": tune.grid_search([1, 2])},
        run_config=tune.RunConfig(name="exp", storage_path=str(tmp_path), verbose=0),
    ).fit()
    experiment = tmp_path / "exp"
    assert (experiment / "tuner.pkl").exists() and list(experiment.glob("experiment_state-*.json"))
    folder = Path(grid[1].path)
    assert folder.parent == experiment and folder.name.startswith("train_it_") and "_1_x=2_" in folder.name
    assert json.loads((folder / "params.json").read_text()) == {"x": 2}
    assert pickle.loads((folder / "params.pkl").read_bytes()) == {"x": 2}
    assert [json.loads(line)["score"] for line in (folder / "result.json").read_text().splitlines()] == [0, 1, 2]
    head, *rows = (folder / "progress.csv").read_text().splitlines()
    assert len(rows) == 3 and "nested/value" in head.split(",") and "config/x" in head.split(",")
    assert list(grid[0].metrics_dataframe["score"]) == [0, 1, 2]
    assert tune.Result.from_path(str(folder)).metrics["score"] == 2


def test_a_failed_trial_has_its_own_exception_and_is_retried_from_its_checkpoint(tmp_path: Path) -> None:
    marker = tmp_path / "failed-once"

    def fails_once(config):
        checkpoint = tune.get_checkpoint()
        start = 0
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                start = int(Path(folder, "step").read_text()) + 1
        for i in range(start, 4):
            if i == 2 and not marker.exists():
                marker.touch()
                raise KeyError("half way")
            folder = tmp_path / f"state-{i}"
            folder.mkdir()
            (folder / "step").write_text(str(i))
            tune.report({"step": i}, checkpoint=tune.Checkpoint.from_directory(folder))

    failure = tune.FailureConfig(max_failures=1)
    config = tune.RunConfig(storage_path=str(tmp_path), name="retry", failure_config=failure, verbose=0)
    result = tune.Tuner(fails_once, run_config=config).fit()[0]
    assert result.error is None and result.metrics["training_iteration"] == 4
    assert list(result.metrics_dataframe["step"]) == [0, 1, 2, 3]
    assert (Path(result.path) / "error.txt").read_text().count("KeyError: 'half way'") == 1

    def fails(config):
        raise ValueError("always")

    grid = tune.Tuner(fails, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    assert isinstance(grid.errors[0], ValueError) and grid.num_errors == 1
    with pytest.raises(tune.TuneError, match="ValueError: always"):
        tune.run(fails, storage_path=str(tmp_path), verbose=0)
    with pytest.raises(ValueError, match="always"):
        raising = tune.FailureConfig(fail_fast="raise")
        tune.Tuner(fails, run_config=tune.RunConfig(storage_path=str(tmp_path), failure_config=raising, verbose=0)).fit()


class Counter(tune.Trainable):
    def setup(self, config: dict) -> None:
        self.total = 0.0

    def step(self) -> dict:
        self.total += self.config["x"]
        return {"score": self.total}

    def save_checkpoint(self, checkpoint_dir: str) -> dict:
        return {"total": self.total}

    def load_checkpoint(self, checkpoint: dict) -> None:
        self.total = checkpoint["total"]

    def cleanup(self) -> None:
        Path(self.logdir, "cleaned").touch()


def test_a_class_steps_is_checkpointed_and_cleans_up(tmp_path: Path) -> None:
    analysis = tune.run(
        Counter,
        config={"x": tune.grid_search([1, 2])},
        stop={"training_iteration": 4},
        metric="score",
        mode="max",
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True, num_to_keep=1),
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert analysis.best_result["score"] == 8
    for trial in analysis.trials:
        assert Path(trial.local_path, "cleaned").exists()
        assert len(list(Path(trial.local_path).glob("checkpoint_*"))) == 1
    restored = Counter({"x": 1})
    restored.restore(analysis.best_checkpoint)
    assert (restored.total, restored.training_iteration) == (8, 4)


def test_pbt_clones_state_between_processes(tmp_path: Path) -> None:
    scheduler = PopulationBasedTraining(
        "training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"x": [1.0, 10.0]},
        resample_probability=0,
        synch=True,
    )
    analysis = tune.run(
        Counter,
        config={"x": tune.grid_search([10.0, 1.0])},
        scheduler=scheduler,
        stop={"training_iteration": 8},
        metric="score",
        mode="max",
        storage_path=str(tmp_path),
        verbose=0,
    )
    scores = [trial.last_result["score"] for trial in analysis.trials]
    assert min(scores) > 8  # the trial that began with x=1 went on from the other's total
    assert any("@perturbed" in trial.experiment_tag for trial in analysis.trials)


def test_asha_stops_functions_where_they_are(tmp_path: Path) -> None:
    def train_it(config):
        for i in range(1, 10):
            (Path(config["folder"]) / f"{config['x']}-{i}").touch()
            tune.report({"score": config["x"] * i})

    marks = tmp_path / "marks"
    marks.mkdir()
    analysis = tune.run(
        train_it,
        config={"x": tune.grid_search([4, 3, 2, 1]), "folder": str(marks)},
        scheduler=ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
        metric="score",
        mode="max",
        max_concurrent_trials=1,
        storage_path=str(tmp_path),
        verbose=0,
    )
    # Exactly as many iterations ran as were reported: nothing runs on past the decision.
    for trial in analysis.trials:
        assert len(list(marks.glob(f"{trial.config['x']}-*"))) == trial.last_result["training_iteration"]
    assert analysis.best_config["x"] == 4


def test_parameters_go_through_the_object_store_once_and_resources_are_kept(tmp_path: Path) -> None:
    data = np.arange(1_000_000)

    def train_it(config, data):
        assert os.environ["OMP_NUM_THREADS"] == "2"
        return {"sum": int(data.sum()) + config["x"], "cpus": tune.get_context().get_trial_resources().head_cpus}

    trainable = tune.with_resources(tune.with_parameters(train_it, data=data), {"cpu": 2})
    analysis = tune.run(trainable, config={"x": tune.grid_search([0, 1])}, storage_path=str(tmp_path), verbose=0)
    assert [trial.last_result["sum"] for trial in analysis.trials] == [499999500000, 499999500001]
    assert {trial.last_result["cpus"] for trial in analysis.trials} == {2.0}


def test_a_trial_with_several_bundles_has_workers_of_its_own(tmp_path: Path) -> None:
    def train_it(config):
        @shoal.remote
        def double(x):
            return 2 * x

        return {"score": sum(shoal.get([double.remote(i) for i in range(3)]))}

    resources = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])
    analysis = tune.run(train_it, resources_per_trial=resources, num_samples=2, storage_path=str(tmp_path), verbose=0)
    assert [trial.last_result["score"] for trial in analysis.trials] == [6, 6]


def test_a_process_serves_the_next_trial_only_when_it_is_clean(tmp_path: Path) -> None:
    def leaves_a_thread(config):
        import threading

        if config["leave"]:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        os.environ["LEFT_BEHIND"] = os.environ.get("LEFT_BEHIND", "") + "x"
        return {"pid": os.getpid(), "left": os.environ["LEFT_BEHIND"]}

    def pids(**arguments) -> int:
        analysis = tune.run(
            leaves_a_thread, num_samples=4, max_concurrent_trials=1, storage_path=str(tmp_path), verbose=0, **arguments
        )
        assert {trial.last_result["left"] for trial in analysis.trials} == {"x"}
        return len({trial.last_result["pid"] for trial in analysis.trials})

    assert pids(config={"leave": False}) == 1
    assert pids(config={"leave": True}) == 4
    assert pids(config={"leave": False}, reuse_actors=False) == 4


def test_the_time_budget_ends_endless_searches(tmp_path: Path) -> None:
    analysis = tune.run(lambda config: 1, num_samples=-1, time_budget_s=0.5, storage_path=str(tmp_path), verbose=0)
    assert analysis.trials and all(trial.status == "TERMINATED" for trial in analysis.trials)


def test_callbacks_are_told_in_order(tmp_path: Path) -> None:
    class Remembers(tune.Callback):
        def __init__(self):
            self.seen = []

        def on_trial_start(self, iteration, trials, trial, **info):
            self.seen.append("start")

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.seen.append(result["score"])

        def on_trial_complete(self, iteration, trials, trial, **info):
            self.seen.append("complete")

        def on_experiment_end(self, trials, **info):
            self.seen.append("end")

    remembers = Remembers()

    def train_it(config):
        tune.report({"score": 1})
        tune.report({"score": 2})

    tune.run(train_it, callbacks=[remembers], storage_path=str(tmp_path), verbose=0)
    assert remembers.seen == ["start", 1, 2, "complete", "end"]


def test_a_dead_process_is_an_error_with_its_cause(tmp_path: Path) -> None:
    def dies(config):
        os.kill(os.getpid(), 9)

    grid = tune.Tuner(dies, run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0)).fit()
    assert isinstance(grid.errors[0], shoal.exceptions.RayActorError)


class Exports(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"done": True}

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        ExportFormat.validate(export_formats)
        path = Path(export_dir) / "exported"
        path.write_text(",".join(export_formats))
        return dict.fromkeys(export_formats, str(path))


def test_a_model_is_exported_into_the_folder_of_its_trial(tmp_path: Path) -> None:
    analysis = tune.run(Exports, export_formats=["ONNX ", "h5"], storage_path=str(tmp_path), verbose=0)
    assert (Path(analysis.trials[0].local_path) / "exported").read_text() == "onnx,h5"
    with pytest.raises(tune.TuneError, match="it must be among .*'onnx'.* but got 'pdf'"):
        ExportFormat.validate(["PDF"])
    with pytest.raises(NotImplementedError, match=r"Trainable must define _export_model for export_formats=\['h5'\]"):
        tune.Trainable().export_model("h5")


def test_a_generator_that_a_stopped_run_has_used_serves_the_next_one(tmp_path: Path) -> None:
    generator = BasicVariantGenerator(max_concurrent=1)
    space = {"x": tune.grid_search([1, 2, 3])}
    first = tune.run(
        lambda config: 1, config=space, search_alg=generator, stop=StopsAtOnce(), storage_path=str(tmp_path), verbose=0
    )
    second = tune.run(lambda config: 1, config=space, search_alg=generator, storage_path=str(tmp_path), verbose=0)
    assert len(first.trials) == 1 and [trial.config["x"] for trial in second.trials] == [1, 2, 3]


class StopsAtOnce(tune.Stopper):
    def __init__(self) -> None:
        self.seen = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.seen = True
        return False

    def stop_all(self) -> bool:
        return self.seen
