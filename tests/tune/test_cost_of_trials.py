"""What a trial costs its driver, counted in lines of Python, files and bytes: none of it grows with the trials before it."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from rich.console import Console
from tests.tune.simulation import play

from shoal import tune
from shoal.tune.execution import experiment_log
from shoal.tune.execution.events import Record
from shoal.tune.execution.experiment_log import ExperimentLog
from shoal.tune.execution.runner import TrialRunner
from shoal.tune.execution.tune_controller import TuneController
from shoal.tune.experiment import Experiment, Trial
from shoal.tune.live_table import LiveTable
from shoal.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback
from shoal.tune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandScheduler, TrialScheduler
from shoal.tune.search import BasicVariantGenerator


def trials_of(folder: Path, count: int) -> list[Trial]:
    """Trials as a run makes them."""
    experiment = Experiment(
        "test", lambda config: None, config={"x": tune.uniform(0, 1)}, num_samples=count, storage_path=str(folder)
    )
    search = BasicVariantGenerator()
    search.add_configurations(experiment)
    made = [search.next_trial() for _ in range(count)]
    return [trial for trial in made if trial is not None]


def result_of(trial: Trial, number: int) -> dict[str, Any]:
    """A result as it comes from a trial's process: nothing in it is shared with anything here."""
    result = {
        "score": number * 0.25,
        "done": False,
        "training_iteration": 1,
        "trial_id": trial.trial_id,
        "date": "2026-01-31_12-00-00",
        "timestamp": 1769860800,
        "time_this_iter_s": number * 1e-4,
        "time_total_s": number * 1e-4,
        "pid": 4321,
        "hostname": "here",
        "node_ip": "10.0.0.1",
        "config": trial.config,
        "time_since_restore": number * 1e-4,
        "iterations_since_restore": 1,
        "experiment_tag": trial.experiment_tag,
    }
    copied: dict[str, Any] = pickle.loads(pickle.dumps(result))
    return copied


def lines_by_trial(controller: TuneController) -> list[int]:
    """How many lines of Python had been run when the first, second, ... trial ended; each round of a loop counts as one."""
    marks: list[int] = []
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if controller.count(Trial.TERMINATED) > len(marks):
                marks.append(lines)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        play(controller, lambda config, iteration: config["x"], iterations=1, checkpoints=False, validate=False)
    finally:
        sys.settrace(before)
    return marks


@pytest.mark.parametrize(
    "make_scheduler",
    [
        FIFOScheduler,
        lambda: ASHAScheduler(metric="score", mode="max", max_t=10),
        lambda: HyperBandScheduler(metric="score", mode="max", max_t=3),
    ],
    ids=["FIFO", "ASHA", "HyperBand"],
)
def test_deciding_about_a_trial_takes_as_many_lines_after_many_trials_as_at_first(
    make_controller, make_scheduler: Callable[[], TrialScheduler]
) -> None:
    controller = make_controller(
        {"x": tune.uniform(0, 1)}, scheduler=make_scheduler(), experiment={"num_samples": 420}, max_pending=4
    )
    marks = lines_by_trial(controller)
    early, late = marks[50] - marks[20], marks[410] - marks[380]
    assert late < 1.1 * early


def test_a_trial_costs_six_entries_of_the_file_system_and_no_look_at_them(tmp_path: Path, monkeypatch) -> None:
    (trial,) = trials_of(tmp_path, 1)
    os.makedirs(trial.local_path)
    loggers = [JsonLoggerCallback(), CSVLoggerCallback(), TBXLoggerCallback()]
    calls: list[tuple[str, str]] = []

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Any, *arguments: Any, **more: Any) -> Any:
            if isinstance(path, str) and path.startswith(trial.local_path):
                calls.append((name, os.path.basename(path)))
            return original(path, *arguments, **more)

        return counted

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", counting("open", builtins.open))
        for name in ("stat", "mkdir", "listdir"):
            patched.setattr(os, name, counting(name, getattr(os, name)))
        for logger in loggers:
            logger.on_trial_start(iteration=1, trials=[trial], trial=trial)
            logger.on_trial_result(iteration=1, trials=[trial], trial=trial, result=result_of(trial, 1))
            logger.on_trial_complete(iteration=1, trials=[trial], trial=trial)

    assert sorted(calls) == [("open", name) for name in sorted(os.listdir(trial.local_path))] and len(calls) == 5


def test_the_resources_of_all_trials_are_pickled_once_for_the_log(tmp_path: Path, monkeypatch) -> None:
    trials = trials_of(tmp_path, 5)
    dumped: list[Any] = []
    original = experiment_log.cloudpickle.dumps
    monkeypatch.setattr(experiment_log.cloudpickle, "dumps", lambda value: (dumped.append(value), original(value))[1])
    log = ExperimentLog(trials[0].storage)
    for trial in trials:
        log.record(Record("trial", trial))
    log.close()
    assert dumped == [trials[0].placement_group_factory]


@pytest.mark.usefixtures("cluster")
def test_a_process_is_told_once_what_all_its_trials_share(tmp_path: Path, monkeypatch) -> None:
    calls: list[tuple[Any, ...]] = []
    original = TrialRunner._call

    def seen(self: TrialRunner, trial: Trial, method: str, kind: str, *arguments: Any) -> None:
        calls.append(arguments)
        original(self, trial, method, kind, *arguments)

    monkeypatch.setattr(TrialRunner, "_call", seen)
    analysis = tune.run(
        lambda config: {"score": config["x"]},
        config={"x": tune.grid_search([1, 2, 3, 4])},
        max_concurrent_trials=1,
        storage_path=str(tmp_path),
        verbose=0,
    )
    assert sorted(trial.last_result["score"] for trial in analysis.trials or []) == [1, 2, 3, 4]
    first, *others = calls
    assert len(first) == 4 and len(others) == 3
    for folder, facts in others:
        assert len(pickle.dumps((folder, facts))) < 600


def test_an_ended_trial_takes_about_the_memory_of_the_result_that_its_process_sent(tmp_path: Path) -> None:
    trials_of(tmp_path, 20)  # what is made once for all

    def ended_trials() -> list[Any]:
        kept: list[Trial] = []
        for number, trial in enumerate(trials_of(tmp_path, 300)):
            trial.last_result = result_of(trial, number)
            trial.metrics.update(trial.last_result)
            trial.settle(kept[-1] if kept else None)
            kept.append(trial)
        return kept

    results = size_bytes(lambda: [result_of(trial, number) for number, trial in enumerate(trials_of(tmp_path, 300))])
    assert size_bytes(ended_trials) < 1.3 * results


def size_bytes(make: Callable[[], list[Any]]) -> int:
    """The memory of what ``make`` returns."""
    tracemalloc.start(1)
    try:
        made = make()
        with_it = tracemalloc.get_traced_memory()[0]
        made.clear()
        return with_it - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_a_settled_result_is_the_same_and_shares_what_it_can(tmp_path: Path) -> None:
    first, second = trials_of(tmp_path, 2)
    for number, trial in enumerate((first, second)):
        trial.last_result = {**result_of(trial, number), "flag": True, "mixed": 1}
    first.last_result["flag"] = 1
    expected = pickle.loads(pickle.dumps(second.last_result))
    first.settle()
    second.settle(first)
    result = second.last_result
    assert result == expected and list(result) == list(expected) and result["flag"] is True
    assert result["config"] is second.config and result["trial_id"] is second.trial_id
    assert result["experiment_tag"] is second.experiment_tag
    assert all(result[name] is first.last_result[name] for name in ("date", "timestamp", "pid", "hostname"))
    second.last_result = {**expected, "config": {"x": "changed by the trial"}}
    second.settle(first)
    assert second.last_result["config"] == {"x": "changed by the trial"} != second.config


def test_the_live_table_is_drawn_less_often_when_drawing_takes_long(make_controller, monkeypatch) -> None:
    controller = make_controller({"x": tune.uniform(0, 1)})
    table = LiveTable(1, "score", "max", 1, Console(file=io.StringIO(), force_terminal=True, width=80))
    ticks = iter([0.0, 1.0])
    monkeypatch.setattr(time, "thread_time", lambda: next(ticks))
    table._shown_at = 0.0
    table.update(controller)
    table.finish(controller)
    wanted_s = table.next_update_s()
    assert wanted_s is not None and 19 < wanted_s <= 20
