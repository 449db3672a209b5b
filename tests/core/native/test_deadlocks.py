"""A wait that waits for itself ends in an error that says so, within seconds; every other wait goes on."""

from __future__ import annotations

import asyncio
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


@shoal.remote(max_concurrency=1)
class AsyncPartner:
    def meet(self, other: Any) -> None:
        self.other = other

    async def ping(self) -> Any:
        return await self.other.pong.remote()

    async def ping_twice(self) -> Any:
        return await asyncio.gather(self.other.pong.remote(), asyncio.create_task(self.ping()))

    async def ping_with_patience(self, timeout_s: float) -> Any:
        try:
            return await asyncio.wait_for(self.other.pong.remote(), timeout_s)
        except asyncio.TimeoutError:
            return "gave up"

    async def block(self) -> Any:
        return shoal.get(shoal.get_runtime_context().current_actor.answer.remote())

    async def answer(self) -> int:
        return 21


def async_partners() -> tuple[Any, Any]:
    a, b = AsyncPartner.remote(), Partner.remote()
    shoal.get([a.meet.remote(b), b.meet.remote(a)])
    return a, b


def test_an_await_in_a_full_async_actor_is_part_of_a_circle() -> None:
    a, b = async_partners()
    with pytest.raises(DeadlockError, match=r"AsyncPartner\.answer, which begins only when AsyncPartner\.ping"):
        shoal.get(a.ping.remote(), timeout=PATIENCE_S)
    with pytest.raises(DeadlockError):
        shoal.get(a.ping_twice.remote(), timeout=PATIENCE_S)
    assert shoal.get([a.answer.remote(), b.answer.remote()], timeout=PATIENCE_S) == [21, 21], "both go on"


def test_an_await_with_a_timeout_ends_by_that() -> None:
    a, _ = async_partners()
    assert shoal.get(a.ping_with_patience.remote(2.5), timeout=PATIENCE_S) == "gave up"


def test_a_call_that_blocks_the_event_loop_it_waits_for() -> None:
    a = AsyncPartner.options(max_concurrency=100).remote()
    with pytest.raises(DeadlockError, match=r"AsyncPartner\.block .* waits for AsyncPartner\.answer"):
        shoal.get(a.block.remote(), timeout=PATIENCE_S)
    assert shoal.get(a.answer.remote(), timeout=PATIENCE_S) == 21


def test_a_driver_that_awaits_a_circle_gets_its_error() -> None:
    a, _ = async_partners()

    async def ask() -> Any:
        return await asyncio.wait_for(a.ping.remote().as_future(), PATIENCE_S)

    with pytest.raises(DeadlockError):
        asyncio.run(ask())


@shoal.remote
class Impatient:
    """Its constructor waits for somebody who waits for it."""

    def __init__(self, partner: Any) -> None:
        self.answer = shoal.get(partner.ask_by_name.remote("impatient"))

    def answer(self) -> int:
        return 21


@shoal.remote
class Asker:
    def ask_by_name(self, name: str) -> Any:
        return shoal.get(shoal.get_actor(name).answer.remote())


def test_a_constructor_is_part_of_a_circle() -> None:
    asker = Asker.remote()
    impatient = Impatient.options(name="impatient").remote(asker)
    with pytest.raises((DeadlockError, shoal.exceptions.ActorDiedError), match=r"waits for itself: .*Impatient\.__init__"):
        shoal.get(impatient.answer.remote(), timeout=PATIENCE_S)
