from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.faults.program import until

import shoal
from shoal.exceptions import ActorDiedError
from shoal.util.state import list_actors

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0, max_concurrency=4)
class Meeting:
    """Calls that meet: each waits until as many are there as were announced."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties)
        self.gate = threading.Event()

    def meet(self) -> int:
        self.barrier.wait(30)
        return threading.get_ident()

    def wait(self) -> bool:
        return self.gate.wait(30)

    def open(self) -> None:
        self.gate.set()


def test_calls_run_on_as_many_threads_as_max_concurrency_says() -> None:
    meeting = Meeting.remote(4)
    assert len(set(shoal.get([meeting.meet.remote() for _ in range(4)]))) == 4


def test_calls_that_run_finish_when_the_last_handle_is_gone() -> None:
    meeting = Meeting.remote(2)
    waiting = [meeting.wait.remote(), meeting.wait.remote()]
    meeting.open.remote()
    del meeting
    assert shoal.get(waiting) == [True, True]


def test_calls_that_run_finish_before_a_termination() -> None:
    meeting = Meeting.remote(3)
    first = [meeting.meet.remote(), meeting.meet.remote()]
    last = meeting.meet.remote()
    meeting.__ray_terminate__.remote()
    assert len(set(shoal.get([*first, last]))) == 3


def test_an_ordinary_actor_runs_one_call_at_a_time_on_one_thread() -> None:
    @shoal.remote(num_cpus=0)
    class Single:
        def place(self) -> int:
            return threading.get_ident()

    single = Single.remote()
    assert len(set(shoal.get([single.place.remote() for _ in range(20)]))) == 1


def test_a_group_whose_calls_wait_does_not_hold_up_another() -> None:
    @shoal.remote(num_cpus=0, concurrency_groups={"slow": 1, "fast": 2})
    class Grouped:
        def __init__(self) -> None:
            self.gate = threading.Event()

        @shoal.method(concurrency_group="slow")
        def wait(self) -> bool:
            return self.gate.wait(30)

        @shoal.method(concurrency_group="fast")
        def open(self) -> str:
            self.gate.set()
            return threading.current_thread().name

        def plain(self) -> str:
            return threading.current_thread().name

    grouped = Grouped.remote()
    waiting = grouped.wait.remote()
    assert shoal.get(grouped.plain.remote()) == "MainThread"
    assert shoal.get(grouped.open.remote()) != "MainThread"
    assert shoal.get(waiting) is True
    assert shoal.get(grouped.plain.options(concurrency_group="fast").remote()) != "MainThread"


def test_an_unknown_group_is_refused() -> None:
    meeting = Meeting.remote(1)
    with pytest.raises(ValueError, match="unheard_of"):
        meeting.meet.options(concurrency_group="unheard_of").remote()


def test_threads_of_an_actor_submit_and_get_at_once() -> None:
    @shoal.remote(num_cpus=0)
    def double(value: int) -> int:
        return value * 2

    @shoal.remote(num_cpus=0, max_concurrency=4)
    class Caller:
        def use(self, start: int) -> list[Any]:
            return list(shoal.get([double.remote(start + number) for number in range(20)]))

    caller = Caller.remote()
    found = shoal.get([caller.use.remote(start) for start in range(8)])
    assert found == [[2 * (start + number) for number in range(20)] for start in range(8)]


@pytest.mark.parametrize("how", ["exit_actor", "sys.exit(0)"])
def test_calls_that_run_finish_when_another_ends_the_actor(how: str, tmp_path: Path) -> None:
    """Those that wait fail, and the actor is not restarted."""
    started, may_end = tmp_path / "started", tmp_path / "may_end"

    @shoal.remote(num_cpus=0, max_concurrency=2, max_restarts=-1)
    class Workplace:
        def work(self) -> str:
            started.touch()
            until(may_end.exists)
            return "done"

        def end(self) -> None:
            if how == "exit_actor":
                shoal.actor.exit_actor()
            sys.exit(0)

    workplace = Workplace.remote()
    running = workplace.work.remote()
    until(started.exists)
    ending, waiting = workplace.end.remote(), [workplace.work.remote() for _ in range(3)]
    for each in (ending, *waiting, workplace.work.remote()):
        with pytest.raises(ActorDiedError, match="It is not restarted"):
            shoal.get(each, timeout=20)
    assert not shoal.wait([running], timeout=0)[0]
    may_end.touch()
    assert shoal.get(running, timeout=20) == "done"
    until(lambda: [row.state for row in list_actors(filters=[("actor_id", "=", workplace._actor_id.hex())])] == ["DEAD"])
