"""Class trainables that make several steps before the run looks at their results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shoal import tune
from shoal.tune.execution.result_buffer import ResultBuffer
from shoal.tune.schedulers import ASHAScheduler


def trial(**checkpoints: Any) -> Any:
    return SimpleNamespace(is_function=False, checkpoint_config=tune.CheckpointConfig(**checkpoints), last_result={})


def test_each_result_is_looked_at_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ResultBuffer.of_environment().limits(trial(), 3) == (1, 0.0)
    monkeypatch.setenv("TUNE_RESULT_BUFFER_LENGTH", "20")
    assert ResultBuffer.of_environment().limits(trial(), 3) == (20, 0.3)
    monkeypatch.setenv("TUNE_RESULT_BUFFER_MIN_TIME_S", "2")
    assert ResultBuffer.of_environment().limits(trial(), 3) == (20, 2.0)
    monkeypatch.setenv("TUNE_RESULT_BUFFER_MAX_TIME_S", "5")
    assert ResultBuffer.of_environment().limits(trial(), 1000) == (20, 5.0)
    monkeypatch.setenv("TUNE_RESULT_BUFFER_LENGTH", "many")
    with pytest.raises(ValueError, match="many"):
        ResultBuffer.of_environment()


def test_a_checkpoint_that_is_due_ends_the_buffer() -> None:
    buffer = ResultBuffer(length=10)
    every_four = trial(checkpoint_frequency=4)
    assert buffer.limits(every_four, 1)[0] == 4
    every_four.last_result = {"training_iteration": 6}
    assert buffer.limits(every_four, 1)[0] == 2
    assert buffer.limits(trial(checkpoint_at_end=True), 1) == (1, 0.0)


class Counts(tune.Trainable):
    """Writes down each step, so that one sees those that nobody looked at."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps = 0

    def step(self) -> dict[str, Any]:
        self.steps += 1
        with open("steps", "a") as file:
            file.write(f"{self.steps}\n")
        if self.steps == self.config.get("fails_at"):
            raise ValueError("failed")
        return {"steps": self.steps, "done": self.steps == 12}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps = checkpoint["steps"]


@pytest.fixture
def long_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_RESULT_BUFFER_LENGTH", "100")
    monkeypatch.setenv("TUNE_RESULT_BUFFER_MIN_TIME_S", "60")


def run(tmp_path: Path, config: dict[str, Any] | None = None, **arguments: Any) -> Any:
    return tune.run(
        Counts, config=config or {}, storage_path=str(tmp_path), verbose=0, raise_on_failed_trial=False, **arguments
    ).trials[0]


def steps_made(trial: Any) -> int:
    return len((Path(trial.local_path) / "steps").read_text().split())


@pytest.mark.usefixtures("cluster", "long_buffer")
def test_a_stop_counts_from_its_result_whatever_was_made_since(tmp_path: Path) -> None:
    trial = run(tmp_path, stop={"steps": 5})
    assert trial.last_result["steps"] == 5 and trial.last_result["training_iteration"] == 5 and steps_made(trial) == 12
    lines = (Path(trial.local_path) / "result.json").read_text().splitlines()
    assert len(lines) == 5


@pytest.mark.usefixtures("cluster", "long_buffer")
def test_checkpoints_are_of_their_own_step_and_schedulers_see_each_result(tmp_path: Path) -> None:
    trial = run(tmp_path / "a", checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=4))
    assert [metrics["steps"] for _, metrics in trial.get_trial_checkpoints()] == [4, 8, 12]
    restored = Counts()
    restored.restore(trial.checkpoint)
    assert restored.steps == 12
    trial = run(tmp_path / "b", scheduler=ASHAScheduler(max_t=3), metric="steps", mode="max")
    assert trial.last_result["steps"] == 3 and steps_made(trial) == 3


@pytest.mark.usefixtures("cluster", "long_buffer")
def test_results_before_a_failure_are_kept(tmp_path: Path) -> None:
    trial = run(tmp_path, {"fails_at": 4})
    assert trial.status == "ERROR" and trial.last_result["steps"] == 3
