"""Every example runs, and prints what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

EXPECTED = {
    "tasks.py": "primes below 20000: 2262\nfewest and most in a part: [198, 303]\nfirst to finish: 4 - still running: 1\n",
    "actors.py": "most common: [('the', 3)]\nwords read: 8\n{'all 5 are here'}\n",
    "objects.py": (
        "means: [1999998.0, 1999999.0, 2000000.0, 2000001.0]\ntasks read it in place: True\n"
        "sum through a nested reference: 7999998000000.0\nit cannot be changed: assignment destination is read-only\n"
    ),
    "generators.py": "sums of the blocks: [0, 1000, 2000, 3000, 4000]\nfirst of an endless stream: [0, 1, 2, 3, 4]\n",
    "tune_search.py": ("trials: 8, best rate: 0.01, width: 64\naccuracy above 0.9: True, fewer epochs than without: True\n"),
    "fault_tolerance.py": (
        "the task's own exception: ZeroDivisionError: division by zero\nretry: the second attempt went well\n"
        "actor: retried after the restart\nits state is new: True\n"
        "a death without retries is an error with a cause\nget with a limit gives up\n"
    ),
}


def run(example: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / example), *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*EXPECTED, "random_forest_search.py"}


@pytest.mark.parametrize("example", EXPECTED)
def test_example_prints_what_it_promises(example: str) -> None:
    assert run(example) == EXPECTED[example]


def test_random_forest_search_finds_the_bigger_forest() -> None:
    printed = run("random_forest_search.py", "--quick")
    assert re.search(r"Trials: 4/4 \(4 TERMINATED\), \d+\.\d s; best accuracy=0\.9", printed)
    assert re.search(r"The best forest reads 9\d\.\d% of the digits: {.*'n_estimators': 20", printed)
    assert re.search(r"12 fits in 4 trials: \d+\.\d s", printed)
    assert re.search(r"12 fits in one process: \d+\.\d s \(from 2 of them", printed)
