"""The restore drill: a search is killed in the middle, again and again. It always goes on, runs no finished trial twice, and
ends with the same best.

``python benchmarks/tune_restore.py [--kills N]``
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TRIALS = 60

PROGRAM = """
import sys, time
from pathlib import Path
import shoal
from shoal import tune

folder, marks = sys.argv[1], Path(sys.argv[2])

def train(config):
    for i in range(3):
        time.sleep(0.01)
        tune.report({"score": (config["x"] * 37) % 101 + i})
    return None

class Marks(tune.Callback):
    def on_trial_start(self, iteration, trials, trial, **info):
        with open(marks, "a") as file:
            file.write(f"{trial.config['x']}\\n")

shoal.init(num_cpus=2)
path = str(Path(folder) / "drill")
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, train)
else:
    config = tune.RunConfig(name="drill", storage_path=folder, verbose=0, callbacks=[Marks()])
    tuner = tune.Tuner(train, param_space={"x": tune.grid_search(list(range(int(sys.argv[3]))))}, run_config=config)
grid = tuner.fit()
best = grid.get_best_result("score", "max")
print(len(grid), grid.num_terminated, best.config["x"], best.metrics["score"])
"""


def finished(folder: Path) -> set[str]:
    """The trials that the log calls finished."""
    found = set()
    for file in (folder / "drill").glob("experiment_state-*.json"):
        for line in file.read_text().splitlines():
            if '"TERMINATED"' in line and line.endswith("}"):
                found.add(json.loads(line)["id"])
    return found


def drill(kills: int, seed: int) -> dict[str, float | str]:
    generator = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, marks = Path(name), Path(name) / "marks"
        ended: list[set[str]] = []
        for _ in range(kills):
            program = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, name, str(marks), str(TRIALS)], stdout=subprocess.DEVNULL
            )
            before = len(finished(folder))
            deadline = time.monotonic() + 20
            while len(finished(folder)) < min(before + 1, TRIALS) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(generator.uniform(0, 0.1))
            program.send_signal(signal.SIGKILL)
            program.wait()
            ended.append(finished(folder))
            assert all(earlier <= ended[-1] for earlier in ended), "a finished trial is unfinished again"
        started_before = Counter(marks.read_text().split())
        last = subprocess.run(
            [sys.executable, "-c", PROGRAM, name, str(marks), str(TRIALS)], check=True, capture_output=True, text=True
        )
        started = Counter(marks.read_text().split())
        done = ended[-1]
        numbers = {trial.rsplit("_", 1)[1].lstrip("0") or "0" for trial in done}
        again = [x for x in numbers if started[x] != started_before[x]]
    best = max((x * 37) % 101 + 2 for x in range(TRIALS))
    count, terminated, _, score = last.stdout.split()[-4:]
    assert (int(count), int(terminated), int(score)) == (TRIALS, TRIALS, best), last.stdout
    assert not again, f"finished trials ran again: {again}"
    return {"kills": kills, "finished before the last start": len(done), "finished trials run again": len(again), "best": score}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(json.dumps(drill(options.kills, options.seed), indent=2))


if __name__ == "__main__":
    main()
