"""Workers and actors that die: results stay right, errors have a type."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

import shoal
from shoal.exceptions import ActorDiedError, RayActorError, TaskUnschedulableError

from .program import PROMISE_S, children_named, until

pytestmark = [pytest.mark.fault, pytest.mark.usefixtures("session")]

KILL_EVERY_S = 0.05
KILLED_MIN = 30
TASKS = int(os.environ.get("SHOAL_FAULT_TASKS", "10000"))


@shoal.remote(max_retries=-1)
def double(x: int) -> int:
    return 2 * x


@pytest.mark.timeout(300)
def test_ten_thousand_tasks_are_right_under_a_killer() -> None:
    done = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        chance = random.Random(1)
        while not done.wait(KILL_EVERY_S):
            workers = children_named("shoal-worker")
            if workers:
                victim = chance.choice(workers)
                victim.kill()
                killed.append(victim.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        rounds = 0
        while rounds * 1000 < TASKS or len(killed) < KILLED_MIN:
            chain = double.remote(1)
            for _ in range(100):
                chain = double.remote(chain)
            refs = [double.remote(n) for n in range(1000)]
            assert shoal.get(refs, timeout=120) == [2 * n for n in range(1000)]
            assert shoal.get(chain, timeout=120) == 2**101
            rounds += 1
    finally:
        done.set()
        killer.join()


def test_a_task_is_tried_again_as_often_as_asked(tmp_path: Path) -> None:
    @shoal.remote(max_retries=2)
    def third_time(folder: str) -> int:
        attempt = len(os.listdir(folder))
        Path(folder, str(attempt)).touch()
        if attempt < 2:
            os._exit(1)
        return attempt

    folder = tmp_path / "attempts"
    folder.mkdir()
    assert shoal.get(third_time.remote(str(folder)), timeout=30) == 2


def test_an_actor_that_dies_is_dead_or_comes_back() -> None:
    @shoal.remote(num_cpus=0)
    class Counter:
        def __init__(self) -> None:
            self.n = 0

        def add(self) -> int:
            self.n += 1
            return self.n

        def pid(self) -> int:
            return os.getpid()

    mortal = Counter.remote()
    assert shoal.get([mortal.add.remote() for _ in range(3)], timeout=30) == [1, 2, 3]
    os.kill(shoal.get(mortal.pid.remote(), timeout=30), 9)
    with pytest.raises(RayActorError):
        for _ in range(1000):
            shoal.get(mortal.add.remote(), timeout=30)
    with pytest.raises(ActorDiedError):
        shoal.get(mortal.add.remote(), timeout=30)

    again = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    assert shoal.get(again.add.remote(), timeout=30) == 1
    first = shoal.get(again.pid.remote(), timeout=30)
    os.kill(first, 9)
    until(lambda: shoal.get(again.pid.remote(), timeout=30) != first)
    assert shoal.get(again.add.remote(), timeout=30) == 1


def test_a_request_that_no_node_can_meet_fails_naming_it() -> None:
    with pytest.raises(TaskUnschedulableError, match="unobtainium"):
        shoal.get(double.options(resources={"unobtainium": 1}).remote(1), timeout=PROMISE_S)


def test_init_twice_is_refused_or_ignored_as_asked() -> None:
    with pytest.raises(RuntimeError):
        shoal.init()
    shoal.init(ignore_reinit_error=True)
    assert shoal.get(double.remote(2), timeout=30) == 4
