"""What Tune costs beyond the training: trivial trials, the driver's memory, the state log, processes reused or not.

``python benchmarks/tune_overhead.py [--trials N ...] [--ray PYTHON]``; ``PYTHON`` is an interpreter that has Ray, for its time
a trial on the same machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tempfile
import time
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


def trivial_trials(count: int, **arguments: Any) -> dict[str, Any]:
    """Wall and driver's processor time of ``count`` trials that do nothing, and its memory on the way."""
    with tempfile.TemporaryDirectory() as folder:
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
    figures: dict[str, Any] = {"wall, s": wall, "wall, ms each": wall / count * 1e3, "driver, ms each": busy / count * 1e3}
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
    parser.add_argument("--ray", help="a Python that has Ray")
    parser.add_argument("--ray-trials", type=int, default=50)
    options = parser.parse_args()
    figures: dict[str, Any] = {"load before": os.getloadavg()[0]}
    if options.ray:
        figures["Ray, ms each"] = ray_trials(options.ray, options.ray_trials) / options.ray_trials * 1e3
    shoal.init(num_cpus=2)
    trivial_trials(20)
    for count in options.trials:
        figures[f"{count} trials"] = trivial_trials(count)
    for reuse in (True, False):
        figures[f"200 trials, reuse_actors={reuse}"] = trivial_trials(200, reuse_actors=reuse)
    shoal.shutdown()
    figures["load after"] = os.getloadavg()[0]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
