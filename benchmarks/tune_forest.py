"""The random-forest search of every tutorial, three times in one run: Shoal's Tune, scikit-learn's own search, Ray's Tune.

``python benchmarks/tune_forest.py PROGRAM [--rounds N] [--ray PYTHON [--ray-part N]]``

``PROGRAM`` is the tutorial's: it imports ray, searches 4 x 3 x 3 x 3 random forests on the iris data with three folds, and
prints the number of trials, the names in the best configuration and its accuracy. Under Shoal it runs unmodified.
GridSearchCV(n_jobs=2) of scikit-learn has the same grid and folds. Ray gets the same program, with ``--ray-part 3`` on a third
of the grid: its time per trial is what is compared. Times are of whole processes, imports included.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRIALS = 108
LEAVES = '"min_samples_leaf": tune.grid_search([1, 2, 4])'
GRID_SEARCH = """
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

x, y = load_iris(return_X_y=True)
grid = {
    "n_estimators": [10, 50, 100],
    "max_depth": [None, 10, 20, 30],
    "min_samples_split": [2, 5, 10],
    "min_samples_leaf": [1, 2, 4],
}
search = GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=3, n_jobs=2).fit(x, y)
print(len(search.cv_results_["params"]), sorted(search.best_params_), round(search.best_score_, 2))
"""


def timed(*command: str) -> tuple[float, str]:
    """Seconds of a process, and the last line that it prints."""
    environment = (
        {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        if command[0] == sys.executable
        else None
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
        return time.perf_counter() - started, done.stdout.strip().splitlines()[-1]


def ray_program(program: Path, part: int, folder: str) -> str:
    """The file to run under Ray: the program, or a copy of it with fewer values of one parameter."""
    if part == 1:
        return str(program)
    text = program.read_text()
    if part != 3 or text.count(LEAVES) != 1:
        raise SystemExit(f"--ray-part must be 1 or 3, and the program must hold {LEAVES!r}, but got --ray-part {part}")
    copy = Path(folder) / "third.py"
    copy.write_text(text.replace(LEAVES, '"min_samples_leaf": tune.grid_search([2])'))
    return str(copy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--rounds", type=int, default=2, help="of Shoal and scikit-learn, in turn; the best of each counts")
    parser.add_argument("--ray", help="a Python that has Ray and scikit-learn")
    parser.add_argument("--ray-part", type=int, default=1, help="3: a third of the grid")
    options = parser.parse_args()
    program = options.program.resolve()
    print(f"load before: {os.getloadavg()}")
    shoal_s, sklearn_s = [], []
    for _ in range(options.rounds):
        seconds, ours = timed(sys.executable, "-m", "shoal.as_ray", str(program))
        shoal_s.append(seconds)
        seconds, theirs = timed(sys.executable, "-c", GRID_SEARCH)
        sklearn_s.append(seconds)
        print(f"Shoal {shoal_s[-1]:.1f} s, GridSearchCV {sklearn_s[-1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    assert ours == theirs, f"the searches differ: {ours!r}, {theirs!r}"
    rows = [
        ("Shoal, as_ray", TRIALS, min(shoal_s)),
        ("GridSearchCV(n_jobs=2)", TRIALS, min(sklearn_s)),
    ]
    if options.ray:
        with tempfile.TemporaryDirectory() as folder:
            seconds, line = timed(options.ray, ray_program(program, options.ray_part, folder))
        rows.append(("Ray Tune", int(line.split()[0]), seconds))
    print(f"load after: {os.getloadavg()}\nlast line of Shoal's: {ours}\n")
    print("| search | trials | seconds | ms a trial | Shoal's time is |\n| --- | --- | --- | --- | --- |")
    own = rows[0][2] / TRIALS
    for name, trials, seconds in rows:
        print(f"| {name} | {trials} | {seconds:.1f} | {seconds / trials * 1e3:.0f} | {own / (seconds / trials):.3f} of it |")


if __name__ == "__main__":
    main()
