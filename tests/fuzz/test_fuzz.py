"""The short form of ``make fuzz``: a few batches of each target, always the same ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")
BATCHES = {"messages": 2, "values": 3, "kernel": 6}
HANG_S = 50


@pytest.mark.parametrize("target", BATCHES)
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_input_and_wrong_calls_raise_and_do_nothing_else(target: str, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--targets", target, "--batches", str(BATCHES[target]), "--seed", str(seed)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{BATCHES[target]} batches" in done.stdout


def test_a_batch_that_is_ended_by_a_signal_is_told_with_how_to_repeat_it(tmp_path: Path) -> None:
    """The harness sees what it is there to see."""
    program = f"""
import os, sys
sys.path.insert(0, {str(SCRIPT.parents[2])!r})
from tests.fuzz import fuzz
fuzz._batch_of = lambda target: lambda chance, count, folder: os.kill(os.getpid(), 11)
fuzz.main(["--targets", "values", "--batches", "1", "--seed", "5"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 1
    assert "ended by SIGSEGV" in done.stderr and "--targets values --seed 5 --batch 0" in done.stderr
