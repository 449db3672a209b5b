"""Which random forest reads handwritten digits best? A grid search, every cross-validation fold a task.

    python examples/random_forest_search.py             36 forests, 3 folds each
    python examples/random_forest_search.py --quick     4 forests
    python examples/random_forest_search.py --compare-all   also fit all of them in one process, not a seventh of them

The images and the folds are put into the object store once; each task gets them as views of the same memory. The comparison
fits every seventh task again in this process, one after the other, and multiplies what it took.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold

import shoal

GRID = {
    "n_estimators": [50, 100],
    "max_depth": [None, 8, 16],
    "max_features": ["sqrt", "log2", 16],
    "min_samples_leaf": [1, 3],
}
QUICK_GRID = {"n_estimators": [10, 20], "max_depth": [None, 8]}
FOLDS = 3
SAMPLE_EVERY = 7
SHOWN = 8


@dataclass
class Candidate:
    """One combination of the grid and what its folds scored."""

    config: dict[str, Any]
    scores: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))


def fit_and_score(images: np.ndarray, labels: np.ndarray, folds: list[Any], fold: int, config: dict[str, Any]) -> float:
    """Accuracy on one fold of a forest that was fitted on the others."""
    training, testing = folds[fold]
    forest = RandomForestClassifier(random_state=0, n_jobs=1, **config)
    forest.fit(images[training], labels[training])
    return float(forest.score(images[testing], labels[testing]))


def candidates_of(grid: dict[str, list[Any]]) -> list[Candidate]:
    return [Candidate(dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def search(candidates: list[Candidate], images: np.ndarray, labels: np.ndarray, folds: list[Any], console: Console) -> float:
    """Fills in the scores of all candidates; returns the seconds it took."""
    started = time.perf_counter()
    shared = [shoal.put(part) for part in (images, labels, folds)]
    score = shoal.remote(fit_and_score)
    work = {score.remote(*shared, fold, candidate.config): candidate for candidate in candidates for fold in range(FOLDS)}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("best {task.fields[best]:.4f}"),
    )
    best = 0.0
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("fitting forests", total=len(work), best=best)
        pending = list(work)
        while pending:
            ready, pending = shoal.wait(pending)
            candidate = work[ready[0]]
            candidate.scores.append(shoal.get(ready[0]))
            if len(candidate.scores) == FOLDS:
                best = max(best, candidate.mean)
            progress.update(bar, advance=1, best=best)
    return time.perf_counter() - started


def in_one_process(
    candidates: list[Candidate], every: int, images: np.ndarray, labels: np.ndarray, folds: list[Any]
) -> tuple[float, int]:
    """Seconds that every ``every``-th fit takes in this process, and how many that were."""
    fits = [(candidate.config, fold) for candidate in candidates for fold in range(FOLDS)][::every]
    started = time.perf_counter()
    for config, fold in fits:
        fit_and_score(images, labels, folds, fold, config)
    return time.perf_counter() - started, len(fits)


def best_table(candidates: list[Candidate]) -> Table:
    table = Table(title=f"The best {min(SHOWN, len(candidates))} of {len(candidates)} forests", title_justify="left")
    for name in candidates[0].config:
        table.add_column(name.replace("_", "\n", 1), justify="right")
    table.add_column("accuracy", justify="right", style="bold")
    table.add_column("lowest fold", justify="right")
    for candidate in sorted(candidates, key=lambda candidate: -candidate.mean)[:SHOWN]:
        values = [str(value) for value in candidate.config.values()]
        table.add_row(*values, f"{candidate.mean:.4f}", f"{min(candidate.scores):.4f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a grid of 4 small forests")
    parser.add_argument("--compare-all", action="store_true", help="fit all forests again in one process")
    options = parser.parse_args()
    console = Console()

    images, labels = load_digits(return_X_y=True)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, labels))
    candidates = candidates_of(QUICK_GRID if options.quick else GRID)
    fits = len(candidates) * FOLDS
    console.print(f"{len(candidates)} forests x {FOLDS} folds on {len(images)} images of digits, {os.cpu_count()} cores")

    started = time.perf_counter()
    with shoal.init(log_to_driver=True):
        start_s = time.perf_counter() - started
        search_s = search(candidates, images, labels, folds, console)
    console.print(best_table(candidates))

    sampled_s, sampled = in_one_process(candidates, 1 if options.compare_all else SAMPLE_EVERY, images, labels, folds)
    one_process_s = sampled_s * fits / sampled
    how = "measured" if sampled == fits else f"from {sampled} of them, which took {sampled_s:.1f} s"
    console.print(f"{fits} fits as tasks: {search_s:.1f} s, and {start_s:.2f} s to start the session")
    console.print(f"{fits} fits in one process: {one_process_s:.1f} s ({how})")
    console.print(f"{one_process_s / (search_s + start_s):.2f} times as fast on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
