"""Tasks that are ended for memory and tried again. The machine's memory is not used up: the threshold is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import shoal
from shoal.exceptions import OutOfMemoryError, TaskCancelledError

from .program import children_named, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True)
def always_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.0001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "20")
    shoal.init(num_cpus=2, logging_level="ERROR", log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote(max_retries=-1)
def hold_memory(started: Path) -> None:
    started.touch()
    time.sleep(1000)


def test_a_task_that_nothing_can_make_room_for_fails_although_its_retries_are_endless(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        shoal.get(hold_memory.remote(tmp_path / "started"), timeout=30)
    for part in ("hold_memory failed", "3 times in a row although nothing else ran", "MiB", "threshold of 0.0%"):
        assert part in str(caught.value)
    assert "for the first time. It is tried again in 0.2 s" in capfd.readouterr().err


def test_a_task_without_retries_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match="it has no retry left"):
        shoal.get(hold_memory.options(max_retries=0).remote(tmp_path / "started"), timeout=30)


def test_a_task_that_pauses_before_it_is_tried_again_can_be_cancelled(tmp_path: Path) -> None:
    started = tmp_path / "started"
    ref = hold_memory.remote(started)
    until(started.exists)
    until(lambda: not children_named("hold_memory"))
    shoal.cancel(ref)
    with pytest.raises(TaskCancelledError):
        shoal.get(ref, timeout=5)
    assert shoal.get(shoal.put(1)) == 1
