"""What Tune costs beyond the training: trivial trials, and the random-forest grid against scikit-learn's own search.

``python benchmarks/tune_overhead.py [--trials N ...] [--forest PROGRAM]``; ``PROGRAM`` is the tutorial's program for Ray.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

import psutil

import shoal
from shoal import tune

GRID_SEARCH = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
x, y = load_iris(return_X_y=True)
grid = {"n_estimators": [10, 50, 100], "max_depth": [None, 10, 20, 30]}
grid.update(min_samples_split=[2, 5, 10], min_samples_leaf=[1, 2, 4])
GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=3, n_jobs=2).fit(x, y)
"""


def trivial(config: dict) -> dict:
    return {"score": config["x"]}


def trivial_trials(count: int) -> dict[str, float]:
    """Wall and driver's processor time of ``count`` trials that do nothing."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        memory = process.memory_info().rss
        wall, busy = time.perf_counter(), time.process_time()
        analysis = tune.run(
            trivial,
            config={"x": tune.uniform(0, 1)},
            num_samples=count,
            metric="score",
            mode="max",
            storage_path=folder,
            verbose=0,
        )
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        assert len(analysis.trials or []) == count
        return {
            f"{count} trials, s": wall,
            f"{count} trials, driver ms each": busy / count * 1e3,
            f"{count} trials, driver grows by kB each": (process.memory_info().rss - memory) / count / 1e3,
        }


def seconds_of(*command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def forest(program: str, rounds: int = 2) -> dict[str, float]:
    """The tutorial's search and GridSearchCV(n_jobs=2) on the same grid and folds, in turn; the best of each."""
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds_of(sys.executable, "-m", "shoal.as_ray", program))
        theirs.append(seconds_of(sys.executable, "-c", GRID_SEARCH))
    return {"random forests, Tune, s": min(ours), "GridSearchCV(n_jobs=2), s": min(theirs), "ratio": min(ours) / min(theirs)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[1000, 10000])
    parser.add_argument("--forest", help="the tutorial's program")
    options = parser.parse_args()
    figures: dict[str, float] = {"load before": os.getloadavg()[0]}
    if options.forest:
        figures.update(forest(options.forest))
    shoal.init(num_cpus=2)
    trivial_trials(20)
    for count in options.trials:
        figures.update(trivial_trials(count))
    shoal.shutdown()
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
