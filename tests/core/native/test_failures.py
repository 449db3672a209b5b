"""What failures look like to who asked for the result, on a real session."""

from __future__ import annotations

import logging

import pytest

import shoal
from shoal.exceptions import ActorDiedError, RayTaskError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def fail(text: str) -> None:
    raise ValueError(text)


@shoal.remote
def take(*values: object) -> None:
    return None


@shoal.remote
class Taker:
    def take(self, value: object) -> object:
        return value


@shoal.remote
class AsyncTaker:
    async def take(self, value: object) -> object:
        return value


def test_a_failed_argument_shows_the_whole_way_it_came() -> None:
    with pytest.raises(ValueError, match="b failed") as caught:
        shoal.get(take.remote(take.options(name="middle").remote(fail.remote("b failed"))))
    text = str(caught.value)
    assert (
        text.index("ray::take()") < text.index("ray::middle()") < text.index("ray::fail()") < text.index("ValueError: b failed")
    )
    assert text.count("At least one of the input arguments for this task could not be computed") == 2


@pytest.mark.parametrize("actor_class", [Taker, AsyncTaker])
def test_an_actor_call_with_a_failed_argument_is_on_the_way_too(actor_class: object) -> None:
    taker = actor_class.remote()  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"Taker\.take\(\)(.|\n)*ray::fail\(\)"):
        shoal.get(taker.take.remote(fail.remote("broken")))
    assert shoal.get(taker.take.remote(1)) == 1


def test_a_long_chain_of_failures_has_a_bounded_text() -> None:
    ref = fail.remote("at the beginning")
    for _ in range(600):
        ref = take.remote(ref)
    with pytest.raises(ValueError, match="at the beginning") as caught:
        shoal.get(ref)
    assert len(str(caught.value)) < 100_000


def test_every_result_of_a_task_with_a_failed_argument_has_the_error() -> None:
    for ref in take.options(num_returns=2).remote(fail.remote("broken")):
        with pytest.raises(ValueError, match="broken"):
            shoal.get(ref)


def test_an_exception_that_cannot_be_a_base_says_how_to_get_at_it(caplog: pytest.LogCaptureFixture) -> None:
    class Final(Exception):
        def __init_subclass__(cls) -> None:
            raise TypeError("no subclasses")

    @shoal.remote
    def fail_finally() -> None:
        raise Final("in the task")

    with caplog.at_level(logging.WARNING, logger="shoal.exceptions"), pytest.raises(RayTaskError) as caught:
        shoal.get(fail_finally.remote())
    assert str(caught.value.cause) == "in the task"
    assert "raised as RayTaskError only. You can use `ray_task_error.cause`" in caplog.text


def test_a_killed_actor_says_who_killed_it() -> None:
    taker = Taker.remote()
    shoal.get(taker.take.remote(1))
    shoal.kill(taker)
    with pytest.raises(ActorDiedError, match="it was killed by `ray.kill`"):
        shoal.get(taker.take.remote(1))


def test_an_attribute_does_not_hide_the_method_of_its_name() -> None:
    @shoal.remote
    class Counter:
        def __init__(self) -> None:
            self.value = 1  # type: ignore[assignment, method-assign]

        def value(self) -> int:
            return int(self.value)  # type: ignore[call-overload]

    assert shoal.get(Counter.remote().value.remote()) == 1
