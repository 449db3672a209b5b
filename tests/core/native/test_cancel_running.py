"""Cancelling what runs, on a real session."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import RayTaskError, TaskCancelledError

pytestmark = pytest.mark.usefixtures("cluster")


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} was not made in time"
        time.sleep(0.005)  # polling: what it waits for is in another process


@shoal.remote
def sleep_after(started: str) -> None:
    Path(started).touch()
    time.sleep(60)


@shoal.remote
def yield_and_sleep(started: str):  # type: ignore[no-untyped-def]
    yield 1
    Path(started).touch()
    time.sleep(60)
    yield 2


def test_a_running_task_ends_with_an_error_of_both_kinds(tmp_path: Path) -> None:
    ref = sleep_after.remote(str(tmp_path / "started"))
    wait_for(tmp_path / "started")
    shoal.cancel(ref)
    with pytest.raises(TaskCancelledError, match="was cancelled") as caught:
        shoal.get(ref, timeout=20)
    assert isinstance(caught.value, RayTaskError)
    assert caught.value.task_id == ref.task_id()


def test_a_running_stream_ends_with_the_cancellation(tmp_path: Path) -> None:
    stream = yield_and_sleep.remote(str(tmp_path / "started"))
    assert shoal.get(next(stream)) == 1
    wait_for(tmp_path / "started")
    shoal.cancel(stream)
    with pytest.raises(RayTaskError, match="was cancelled"):
        shoal.get(next(stream), timeout=20)
    with pytest.raises(StopIteration):
        next(stream)


def test_a_task_that_pauses_before_its_next_try_is_cancelled_at_once(tmp_path: Path) -> None:
    @shoal.remote(retry_exceptions=True, max_retries=-1)
    def fail_always() -> None:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        if (tmp_path / "tries").stat().st_size == 6:
            (tmp_path / "started").touch()
        raise ValueError("again")

    ref = fail_always.remote()
    wait_for(tmp_path / "started")
    shoal.cancel(ref)
    with pytest.raises(TaskCancelledError):
        shoal.get(ref, timeout=20)


def test_what_a_cancelled_call_submits_to_clean_up_runs(tmp_path: Path) -> None:
    started = tmp_path / "started"

    @shoal.remote
    def clean(path: str) -> str:
        Path(path).touch()
        return "cleaned"

    @shoal.remote
    class Parent:
        async def run(self) -> None:
            import asyncio

            self.child = sleep_after.remote(str(tmp_path / "child"))
            started.touch()
            try:
                await asyncio.sleep(60)
            finally:
                self.cleaning = clean.remote(str(tmp_path / "cleaned"))

        async def inner(self) -> list[shoal.ObjectRef]:
            return [self.child, self.cleaning]

    parent = Parent.remote()
    ref = parent.run.remote()
    wait_for(started)
    shoal.cancel(ref)
    with pytest.raises(TaskCancelledError):
        shoal.get(ref, timeout=20)
    child, cleaning = shoal.get(parent.inner.remote())
    assert shoal.get(cleaning, timeout=20) == "cleaned"
    with pytest.raises(TaskCancelledError):
        shoal.get(child, timeout=20)
