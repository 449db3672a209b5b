"""``benchmarks/compare.py``: how it makes its side environment, and the table."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "compare.py"
    spec = importlib.util.spec_from_file_location("compare_for_tests", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def commands(compare: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been run. Making the environment makes its interpreter."""
    ran: list[list[str]] = []

    def run(command: list[str], check: bool) -> None:
        assert check
        ran.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_the_side_environment_is_made_once_with_the_rivals(
    compare: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    python = compare.rival_interpreter(tmp_path)
    assert python == str(tmp_path / "bin" / "python")
    make, install = commands
    assert make == [sys.executable, "-m", "venv", "--clear", "--without-pip", str(tmp_path)]
    assert install[:6] == [sys.executable, "-m", "pip", "--python", python, "install"]
    assert {"ray==2.60.*", "joblib", "numpy", "psutil"} <= set(install)
    assert compare.rival_interpreter(tmp_path) == python
    assert len(commands) == 2


def test_an_environment_that_was_not_finished_or_has_other_packages_is_made_again(
    compare: ModuleType, commands: list[list[str]], tmp_path: Path
) -> None:
    for command in compare.installation(tmp_path, ("ray",))[:1]:
        subprocess.run(command, check=True)
    compare.rival_interpreter(tmp_path, ("ray",))
    assert len(commands) == 3
    compare.rival_interpreter(tmp_path, ("ray", "joblib"))
    assert len(commands) == 5


def test_the_commands_are_ones_that_pip_and_venv_know(compare: ModuleType, tmp_path: Path) -> None:
    make, install = compare.installation(tmp_path / "environment", ("no-such-package-here",))
    subprocess.run(make, check=True)
    failed = subprocess.run(
        [*install, "--no-index", "--no-build-isolation"], capture_output=True, text=True, check=False, timeout=60
    )
    assert failed.returncode == 1 and "No matching distribution found for no-such-package-here" in failed.stderr


def test_the_table_says_what_was_reached_and_what_moved(compare: ModuleType) -> None:
    now = {
        "ray": {"tasks_sync_per_s": 100.0, "calls_10000_s": 6.0},
        "shoal": {"tasks_sync_per_s": 6000.0, "idle_mb": 70.0, "calls_10000_s": 0.02},
        "joblib": {"calls_10000_s": 0.06},
    }
    earlier = {"ray": {"tasks_sync_per_s": 200.0}, "shoal": {"tasks_sync_per_s": 6000.0}}
    rows = {line.split(" | ")[0].strip("| "): line for line in compare.markdown_of(now, earlier).splitlines()}
    assert "60 | 50x: reached | +100 %" in rows["tasks, one at a time"], "Ray was twice as fast in the earlier run"
    assert "not measured | 70 MB" in rows["idle memory without the driver"]
    assert "FELL SHORT" in rows["idle memory without the driver"]
    assert "0.06 s | as above | 3" in rows["10,000 tiny calls with joblib instead of Ray"]


def test_an_engine_without_figures_ends_the_comparison_with_its_words(compare: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"no_such_engine gave no figures for calls \(exit 1\)(.|\n)*No module named"):
        compare.measured(sys.executable, "no_such_engine", "calls")
