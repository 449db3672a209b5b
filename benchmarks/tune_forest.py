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
import resource
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


def timed(*command: str) -> tuple[float, float, str]:
    """Wall and processor seconds of a process and what it has started and waited for, and the last line that it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if command[0] == sys.executable:
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    with tempfile.TemporaryDirectory() as folder:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment)
        wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    busy_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, busy_s, done.stdout.strip().splitlines()[-1]


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
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(timed(sys.executable, "-m", "shoal.as_ray", str(program)))
        theirs.append(timed(sys.executable, "-c", GRID_SEARCH))
        print(f"Shoal {ours[-1][0]:.1f} s, GridSearchCV {theirs[-1][0]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
        assert ours[-1][2] == theirs[-1][2], f"the searches differ: {ours[-1][2]!r}, {theirs[-1][2]!r}"
    rows = [("Shoal, as_ray", TRIALS, *min(ours)), ("GridSearchCV(n_jobs=2)", TRIALS, *min(theirs))]
    if options.ray:
        with tempfile.TemporaryDirectory() as folder:
            wall_s, busy_s, line = timed(options.ray, ray_program(program, options.ray_part, folder))
        rows.append(("Ray Tune", int(line.split()[0]), wall_s, busy_s, line))
    print(f"load after: {os.getloadavg()}\nlast line of Shoal's: {ours[0][2]}\n")
    print("| search | trials | seconds | ms a trial | Shoal's time a trial is | processor seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    own = rows[0][2] / TRIALS
    for name, trials, wall_s, busy_s, _ in rows:
        each = wall_s / trials
        print(f"| {name} | {trials} | {wall_s:.1f} | {each * 1e3:.0f} | {own / each:.3f} of it | {busy_s:.1f} |")


if __name__ == "__main__":
    main()
