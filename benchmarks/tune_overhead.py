"""What Tune costs beyond the training: trivial trials, the driver's memory, the state log, processes reused or not.

``python benchmarks/tune_overhead.py [--trials N ...] [--storage FOLDER] [--ray PYTHON]``; ``PYTHON`` is an interpreter that has
Ray, for its time a trial on the same machine.

The driver's processor time is given whole, and without what it uses while it waits (a short spin before it sleeps). A trial has
a folder and five files; what as many empty ones cost in FOLDER at that time is given beside it, because that differs much: ext4
without a journal, for one, passes over all files that were deleted nearby in the last minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import shoal
from shoal import tune

RAY_TRIALS = """
import sys, tempfile, time
import ray
from ray import tune

def trivial(config):
    return {"score": config["x"]}

def seconds_of(count, folder):
    started = time.perf_counter()
    space = {"x": tune.uniform(0, 1)}
    tune.run(trivial, config=space, num_samples=count, metric="score", mode="max", storage_path=folder, verbose=0)
    return time.perf_counter() - started

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
with tempfile.TemporaryDirectory() as folder:
    seconds_of(2, folder)
    print("seconds", seconds_of(int(sys.argv[1]), folder))
"""


def trivial(config: dict[str, Any]) -> dict[str, Any]:
    return {"score": config["x"]}


class Watch(tune.Callback):
    """At each of ``marks`` finished trials: the driver's memory, and whether the log still begins as at the mark before."""

    def __init__(self, marks: list[int], folder: str) -> None:
        self.marks, self.folder = marks, folder
        self.memory_bytes: dict[int, int] = {}
        self.is_append_only = True
        self._finished = 0
        self._earlier = (0, hashlib.sha256().hexdigest())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._finished += 1
        if self._finished in self.marks:
            self.memory_bytes[self._finished] = psutil.Process().memory_info().rss
            (log,) = Path(self.folder).glob("*/experiment_state-*.json")
            data = log.read_bytes()
            size, digest = self._earlier
            self.is_append_only &= hashlib.sha256(data[:size]).hexdigest() == digest
            self._earlier = (len(data), hashlib.sha256(data).hexdigest())


class Waiting:
    """Processor time that this thread uses inside of ``shoal.wait`` and ``shoal.get``."""

    def __init__(self) -> None:
        self.busy_s = 0.0

    def __enter__(self) -> Waiting:
        self._originals = shoal.wait, shoal.get
        shoal.wait, shoal.get = self._timed(shoal.wait), self._timed(shoal.get)
        return self

    def __exit__(self, *exception: object) -> None:
        shoal.wait, shoal.get = self._originals

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **more: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                self.busy_s += time.thread_time() - started

        return timed


def seconds_of_files(folder: str, count: int = 200) -> tuple[float, float]:
    """Wall and processor time of a folder with five empty files, as each trial has."""
    wall, busy = time.perf_counter(), time.process_time()
    for number in range(count):
        os.mkdir(f"{folder}/probe-{number}")
        for file in range(5):
            os.close(os.open(f"{folder}/probe-{number}/{file}", os.O_WRONLY | os.O_CREAT))
    return (time.perf_counter() - wall) / count, (time.process_time() - busy) / count


def trivial_trials(count: int, storage: str | None = None, **arguments: Any) -> dict[str, Any]:
    """Wall and driver's processor time of ``count`` trials that do nothing, and its memory on the way."""
    with tempfile.TemporaryDirectory(dir=storage) as folder, Waiting() as waiting:
        files = seconds_of_files(folder)
        watch = Watch([mark for mark in (2_000, 5_000, 10_000) if mark <= count], folder)
        wall, busy = time.perf_counter(), time.process_time()
        analysis = tune.run(
            trivial,
            config={"x": tune.uniform(0, 1)},
            num_samples=count,
            metric="score",
            mode="max",
            storage_path=folder,
            verbose=0,
            callbacks=[watch],
            **arguments,
        )
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
    assert len(analysis.trials or []) == count
    figures: dict[str, Any] = {
        "wall, s": wall,
        "wall, ms each": wall / count * 1e3,
        "driver, ms each": busy / count * 1e3,
        "driver, ms each, without waiting": (busy - waiting.busy_s) / count * 1e3,
        "a folder with five files, ms of wall and of processor": [seconds * 1e3 for seconds in files],
        "load": os.getloadavg()[0],
    }
    for mark, memory_bytes in watch.memory_bytes.items():
        figures[f"driver's memory at {mark} trials, MB"] = memory_bytes / 1e6
    if len(watch.memory_bytes) > 1:
        marks = sorted(watch.memory_bytes)
        grown = watch.memory_bytes[marks[-1]] - watch.memory_bytes[marks[0]]
        figures["driver grows by kB each"] = grown / (marks[-1] - marks[0]) / 1e3
        figures["log only grows"] = watch.is_append_only
    return figures


def ray_trials(python: str, count: int) -> float:
    """Seconds of as many trivial trials under Ray Tune."""
    done = subprocess.run([python, "-c", RAY_TRIALS, str(count)], check=True, capture_output=True, text=True)
    return float(next(line for line in done.stdout.splitlines() if line.startswith("seconds")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--storage", help="where the experiments lie (default: the folder for temporary files)")
    parser.add_argument("--ray", help="a Python that has Ray")
    parser.add_argument("--ray-trials", type=int, default=50)
    options = parser.parse_args()
    figures: dict[str, Any] = {"load before": os.getloadavg()[0]}
    if options.ray:
        figures["Ray, ms each"] = ray_trials(options.ray, options.ray_trials) / options.ray_trials * 1e3
    shoal.init(num_cpus=2)
    trivial_trials(20, options.storage)
    for count in options.trials:
        figures[f"{count} trials"] = trivial_trials(count, options.storage)
    for reuse in (True, False):
        figures[f"200 trials, reuse_actors={reuse}"] = trivial_trials(200, options.storage, reuse_actors=reuse)
    shoal.shutdown()
    figures["load after"] = os.getloadavg()[0]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
