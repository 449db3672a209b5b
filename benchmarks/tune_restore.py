"""The restore drill: the driver of a search is killed in the middle, again and again.

``python benchmarks/tune_restore.py [--kills N]``. After each kill the search is restored. Shown, by a file to which the trials
themselves write: no trial that the experiment's log calls finished is run again; a trial goes on with the step in which it was
killed, so at most one result of it is lost; the end is that of a search which nobody disturbed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

STEPS = 4
PROGRAM = """
import json, os, sys, tempfile, time
from pathlib import Path
import shoal
from shoal import tune

folder, marks, run, trials, steps = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])

def mark(x, step):
    with open(marks, "a") as file:
        file.write(json.dumps([x, run, step]) + "\\n")

def train(config):
    first, total = 0, 0
    if tune.get_checkpoint():
        with tune.get_checkpoint().as_directory() as place:
            first, total = json.loads(Path(place, "state").read_text())
    for step in range(first, steps):
        mark(config["x"], step)
        time.sleep(0.01)
        total += (config["x"] * 37 + step) % 101
        with tempfile.TemporaryDirectory() as place:
            Path(place, "state").write_text(json.dumps([step + 1, total]))
            tune.report({"score": total}, checkpoint=tune.Checkpoint.from_directory(place))
    mark(config["x"], steps)

shoal.init(num_cpus=2)
path = os.path.join(folder, "drill")
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, train)
else:
    space = {"x": tune.grid_search(list(range(trials)))}
    tuner = tune.Tuner(train, param_space=space, run_config=tune.RunConfig(name="drill", storage_path=folder, verbose=0))
grid = tuner.fit()
best = grid.get_best_result("score", "max")
ran = sorted(result.config["x"] for result in grid)
print("END", json.dumps([len(grid), grid.num_terminated, best.config["x"], best.metrics["score"], ran]))
"""


class Experiment:
    """One search in its folder, started as often as it takes."""

    def __init__(self, folder: Path, trials: int) -> None:
        self.folder, self.trials, self.runs = folder, trials, 0
        self.marks_file = folder / "marks"

    def start(self) -> subprocess.Popen[str]:
        self.runs += 1
        arguments = [str(self.folder), str(self.marks_file), str(self.runs), str(self.trials), str(STEPS)]
        return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)

    def end(self) -> list[Any]:
        """Runs it to its end: number of trials, of terminated ones, the best's x and score, all x."""
        output, _ = self.start().communicate(timeout=300)
        return list(json.loads(next(line for line in output.splitlines() if line.startswith("END"))[4:]))

    def finished(self) -> set[int]:
        """The trials that the log calls finished, by the number that is their x."""
        lines = [line for file in self.folder.glob("drill/experiment_state-*.json") for line in file.read_text().splitlines()]
        facts = [json.loads(line) for line in lines if '"TERMINATED"' in line and line.endswith("}")]
        return {int(fact["id"].rsplit("_", 1)[1]) for fact in facts}

    def marks(self) -> dict[int, dict[int, list[int]]]:
        """For each x and each run the steps that were begun; ``STEPS`` stands for the function's end."""
        found: dict[int, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for line in self.marks_file.read_text().splitlines():
            x, run, step = json.loads(line)
            found[x][run].append(step)
        return found


def kill_in_the_middle(experiment: Experiment, generator: random.Random, early: bool) -> None:
    """``early``: at any moment after the start; else after at least one trial more has finished."""
    program = experiment.start()
    before = len(experiment.finished())
    deadline = time.monotonic() + 30
    while not early and len(experiment.finished()) == before and time.monotonic() < deadline:
        time.sleep(0.005)  # another process writes the log: there is no event to wait for
    time.sleep(generator.uniform(0, 1.0 if early else 0.05))
    assert program.poll() is None, "the search was over before the kill: it needs more trials"
    program.send_signal(signal.SIGKILL)
    program.communicate()


def drill(kills: int, seed: int, trials: int) -> dict[str, Any]:
    """Raises AssertionError when something is run again or lost."""
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed = Experiment(Path(folder) / "undisturbed", trials)
        experiment = Experiment(Path(folder) / "killed", trials)
        for one in (undisturbed, experiment):
            one.folder.mkdir()
        expected = undisturbed.end()
        finished_before: dict[int, set[int]] = {}  # for each run, what was finished when it began
        for kill in range(kills):
            finished_before[experiment.runs + 1] = experiment.finished()
            kill_in_the_middle(experiment, generator, early=kill % 4 == 3)
        finished_before[experiment.runs + 1] = experiment.finished()
        assert experiment.end() == expected, "the end is another than that of the undisturbed search"
        again = {
            x for x, runs in experiment.marks().items() for run in runs if x in finished_before[run]
        }  # a finished trial that has begun a step
        assert not again, f"finished trials ran again: {sorted(again)}"
        repeated = repeated_steps(experiment)
        return {
            "kills": kills,
            "trials": trials,
            "restored": experiment.runs - 1,
            "finished before the last start": len(finished_before[experiment.runs]),
            "finished trials run again": len(again),
            "trials that were killed while they ran": len(repeated),
            "results lost by one kill in one trial, at most": max((most for most in repeated.values()), default=0),
            "best": expected[2:4],
        }


def repeated_steps(experiment: Experiment) -> dict[int, int]:
    """For each trial that a kill has interrupted, the most results that it had to produce again. A step that was begun and
    not ended counts as one."""
    found: dict[int, int] = {}
    for x, runs in experiment.marks().items():
        numbers = sorted(runs)
        for earlier, later in itertools.pairwise(numbers):
            lost = min(runs[earlier][-1], STEPS - 1) - runs[later][0] + 1
            if runs[earlier][-1] == STEPS:
                lost = STEPS - runs[later][0]  # all were reported; only that it had ended was lost
            found[x] = max(found.get(x, 0), lost)
            assert lost <= 1, f"trial {x} lost {lost} results by one kill: {dict(runs)}"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps({"load": os.getloadavg()[0], **drill(options.kills, options.seed, options.trials)}, indent=2))


if __name__ == "__main__":
    main()
