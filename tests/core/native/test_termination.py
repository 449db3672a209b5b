"""How actors end in order, on a real session."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import ActorDiedError

pytestmark = pytest.mark.usefixtures("cluster")


def wait_for(path: Path) -> None:
    deadline_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} was not made in time"
        time.sleep(0.005)  # polling: what it waits for is in another process


class OnThreads:
    def work(self, started: str, may_end: str) -> str:
        Path(started).touch()
        wait_for(Path(may_end))
        return "done"

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def pid(self) -> int:
        return os.getpid()


class OnALoop(OnThreads):
    async def work(self, started: str, may_end: str) -> str:  # type: ignore[override]
        import asyncio

        return await asyncio.to_thread(super().work, started, may_end)


@pytest.mark.parametrize("cls", [OnThreads, OnALoop])
def test_sigterm_lets_the_calls_of_a_concurrent_actor_finish(cls: type[OnThreads], tmp_path: Path) -> None:
    started, may_end = tmp_path / "started", tmp_path / "may_end"
    actor = shoal.remote(cls).options(max_concurrency=3).remote()
    running = actor.work.remote(str(started), str(may_end))
    wait_for(started)
    shoal.get(actor.end.remote())
    assert not shoal.wait([running], timeout=0.05)[0]
    may_end.touch()
    assert shoal.get(running, timeout=20) == "done"
    with pytest.raises(ActorDiedError, match="SIGTERM"):
        shoal.get(actor.work.remote(str(started), str(tmp_path / "never")), timeout=20)


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    started = tmp_path / "started"
    actor = shoal.remote(OnThreads).options(max_concurrency=3).remote()
    pid = shoal.get(actor.pid.remote())
    running = actor.work.remote(str(started), str(tmp_path / "never"))
    wait_for(started)
    while not shoal.wait([running], timeout=0.02)[0]:  # two that come at the same time are one
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with pytest.raises(ActorDiedError, match="SIGTERM"):
        shoal.get(running, timeout=20)


def test_sigterm_ends_an_actor_of_one_thread_at_once(tmp_path: Path) -> None:
    started = tmp_path / "started"
    actor = shoal.remote(OnThreads).remote()
    pid = shoal.get(actor.pid.remote())
    running = actor.work.remote(str(started), str(tmp_path / "never"))
    wait_for(started)
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(ActorDiedError, match="SIGTERM"):
        shoal.get(running, timeout=20)
