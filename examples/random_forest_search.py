"""Which random forest reads handwritten digits best? A grid search with Tune: every forest a trial, on three folds.

    python examples/random_forest_search.py             36 forests, 3 folds each
    python examples/random_forest_search.py --quick     4 forests
    python examples/random_forest_search.py --compare-all   also fit all of them in one process, not a seventh of them

The images and the folds are put into the object store once; each trial gets them as views of the same memory. The comparison
fits every seventh forest and fold again in this process, one after the other, and multiplies what it took.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

import shoal
from shoal import tune

GRID = {
    "n_estimators": [50, 100],
    "max_depth": [None, 8, 16],
    "max_features": ["sqrt", "log2", 16],
    "min_samples_leaf": [1, 3],
}
QUICK_GRID = {"n_estimators": [10, 20], "max_depth": [None, 8]}
FOLDS = 3
SAMPLE_EVERY = 7


def fit_and_score(images: np.ndarray, labels: np.ndarray, folds: list[Any], fold: int, config: dict[str, Any]) -> float:
    """Accuracy on one fold of a forest that was fitted on the others."""
    training, testing = folds[fold]
    forest = RandomForestClassifier(random_state=0, n_jobs=1, **config)
    forest.fit(images[training], labels[training])
    return float(forest.score(images[testing], labels[testing]))


def train(config: dict[str, Any], images: np.ndarray, labels: np.ndarray, folds: list[Any]) -> dict[str, float]:
    """One trial: the mean accuracy of a forest over all folds, and its lowest."""
    scores = [fit_and_score(images, labels, folds, fold, config) for fold in range(FOLDS)]
    return {"accuracy": float(np.mean(scores)), "lowest_fold": min(scores)}


def search(grid: dict[str, list[Any]], images: np.ndarray, labels: np.ndarray, folds: list[Any]) -> tune.ResultGrid:
    with tempfile.TemporaryDirectory() as folder:
        return tune.Tuner(
            tune.with_parameters(train, images=images, labels=labels, folds=folds),
            param_space={name: tune.grid_search(values) for name, values in grid.items()},
            tune_config=tune.TuneConfig(metric="accuracy", mode="max"),
            run_config=tune.RunConfig(name="random forests", storage_path=folder),
        ).fit()


def in_one_process(
    grid: dict[str, list[Any]], every: int, images: np.ndarray, labels: np.ndarray, folds: list[Any]
) -> tuple[float, int]:
    """Seconds that every ``every``-th fit takes in this process, and how many that were."""
    configs = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    fits = [(config, fold) for config in configs for fold in range(FOLDS)][::every]
    started = time.perf_counter()
    for config, fold in fits:
        fit_and_score(images, labels, folds, fold, config)
    return time.perf_counter() - started, len(fits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a grid of 4 small forests")
    parser.add_argument("--compare-all", action="store_true", help="fit all forests again in one process")
    options = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, labels))
    grid = QUICK_GRID if options.quick else GRID
    forests = int(np.prod([len(values) for values in grid.values()]))
    fits = forests * FOLDS
    print(f"{forests} forests x {FOLDS} folds on {len(images)} images of digits, {os.cpu_count()} cores")

    started = time.perf_counter()
    with shoal.init(log_to_driver=True):
        start_s = time.perf_counter() - started
        best = search(grid, images, labels, folds).get_best_result()
        search_s = time.perf_counter() - started - start_s
    print(f"The best forest reads {best.metrics['accuracy']:.1%} of the digits: {best.config}")

    sampled_s, sampled = in_one_process(grid, 1 if options.compare_all else SAMPLE_EVERY, images, labels, folds)
    one_process_s = sampled_s * fits / sampled
    how = "measured" if sampled == fits else f"from {sampled} of them, which took {sampled_s:.1f} s"
    print(f"{fits} fits in {forests} trials: {search_s:.1f} s, and {start_s:.2f} s to start the session")
    print(f"{fits} fits in one process: {one_process_s:.1f} s ({how})")
    print(f"{one_process_s / (search_s + start_s):.2f} times as fast on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
