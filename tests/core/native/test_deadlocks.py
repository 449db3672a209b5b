"""A wait that waits for itself ends in an error that says so, within seconds; every other wait goes on."""

from __future__ import annotations

import time
from typing import Any

import pytest

import shoal
from shoal.exceptions import DeadlockError

pytestmark = pytest.mark.usefixtures("cluster")
PATIENCE_S = 10.0


@shoal.remote
class Partner:
    def meet(self, other: Any) -> None:
        self.other = other

    def ping(self) -> Any:
        return shoal.get(self.other.pong.remote())

    def pong(self) -> Any:
        return shoal.get(self.other.answer.remote())

    def ping_one_of_two(self, sleepers: list[Any]) -> Any:
        ready, _ = shoal.wait([self.other.pong.remote(), *sleepers])
        return shoal.get(ready[0])

    def ask_with_patience(self, timeout_s: float) -> Any:
        return shoal.get(self.other.pong.remote(), timeout=timeout_s)

    def ask_itself(self) -> Any:
        return shoal.get(shoal.get_runtime_context().current_actor.answer.remote())

    def ask_itself_later(self, nothing: Any) -> Any:
        me = shoal.get_runtime_context().current_actor
        return shoal.get(double.remote(double.remote(me.answer.remote())))

    def answer(self) -> int:
        return 21


@shoal.remote
def double(x: int) -> int:
    return 2 * x


@shoal.remote
def sleep(seconds: float) -> str:
    time.sleep(seconds)  # the work itself takes time
    return "slept"


def partners() -> tuple[Any, Any]:
    a, b = Partner.remote(), Partner.remote()
    shoal.get([a.meet.remote(b), b.meet.remote(a)])
    return a, b


def test_two_actors_that_wait_for_each_other_get_an_error_that_names_both() -> None:
    a, b = partners()
    asked = a.ping.remote()
    with pytest.raises(DeadlockError) as caught:
        shoal.get(asked, timeout=PATIENCE_S)
    text = str(caught.value)
    assert "Partner.pong" in text and "Partner.answer, which begins only when Partner.ping" in text
    assert shoal.get([a.answer.remote(), b.answer.remote()], timeout=PATIENCE_S) == [21, 21], "both go on"


def test_an_actor_that_waits_for_its_own_next_call() -> None:
    a, _ = partners()
    with pytest.raises(DeadlockError, match=r"Partner\.ask_itself .* waits for Partner\.answer"):
        shoal.get(a.ask_itself.remote(), timeout=PATIENCE_S)


def test_tasks_on_the_way_do_not_hide_the_circle() -> None:
    a, _ = partners()
    with pytest.raises(DeadlockError):
        shoal.get(a.ask_itself_later.remote(None), timeout=PATIENCE_S)


def test_waits_that_can_end_do() -> None:
    a, _ = partners()
    assert shoal.get(a.ping_one_of_two.remote([sleep.remote(1.7)]), timeout=PATIENCE_S) == "slept"
    with pytest.raises(shoal.exceptions.GetTimeoutError):
        shoal.get(a.ask_with_patience.remote(1.2), timeout=PATIENCE_S)


def test_an_actor_with_room_for_another_call_may_ask_itself() -> None:
    a = Partner.options(max_concurrency=2).remote()
    assert shoal.get(a.ask_itself.remote(), timeout=PATIENCE_S) == 21
