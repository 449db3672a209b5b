"""Handles got by name, or by an actor of itself, do not keep the actor alive; neither do copies of them."""

from __future__ import annotations

import os
import select
from typing import Any

import pytest

import shoal
from shoal.exceptions import ActorDiedError

pytestmark = pytest.mark.usefixtures("cluster")
LIMIT_S = 20.0


@shoal.remote(num_cpus=0)
class Box:
    def __init__(self) -> None:
        self.kept: list[Any] = []

    def pid(self) -> int:
        return os.getpid()

    def keep(self, *things: Any) -> int:
        self.kept += things
        return len(self.kept)

    def keep_oneself(self) -> None:
        self.kept.append(shoal.get_runtime_context().current_actor)

    def give_oneself(self, to: Any) -> Any:
        me = shoal.get_runtime_context().current_actor
        shoal.get(to.keep.remote(me))
        return me

    def count_through_kept(self) -> Any:
        return shoal.get(self.kept[0].keep.remote())

    @shoal.method(num_returns=2)
    def two(self) -> tuple[int, int]:
        return 1, 2

    def items(self) -> Any:
        yield 1
        yield 2


@shoal.remote(num_cpus=0)
def pass_through(value: Any) -> Any:
    return value


class Life:
    """Of an actor's process: ``ended`` waits for its end."""

    def __init__(self, actor: Any) -> None:
        self._pid = os.pidfd_open(shoal.get(actor.pid.remote(), timeout=LIMIT_S))

    def ended(self) -> bool:
        try:
            return bool(select.select([self._pid], [], [], LIMIT_S)[0])
        finally:
            os.close(self._pid)


def test_a_handle_by_name_works_and_does_not_keep_the_actor() -> None:
    box = Box.options(name="weak").remote()
    life, found = Life(box), shoal.get_actor("weak")
    assert found == box and shoal.get(found.keep.remote(1), timeout=LIMIT_S) == 1
    del box
    assert life.ended()
    with pytest.raises(ActorDiedError):
        shoal.get(found.pid.remote(), timeout=LIMIT_S)
    with pytest.raises(ValueError, match="weak"):
        shoal.get_actor("weak")


def test_every_kind_of_call_of_an_actor_that_is_gone_fails_with_its_death() -> None:
    box = Box.options(name="gone").remote()
    life, found = Life(box), shoal.get_actor("gone")
    del box
    assert life.ended()
    with pytest.raises(TypeError, match="pid"):
        found.pid.remote("one argument too many")
    for result in (found.keep.remote(1), *found.two.remote(), next(found.items.options(num_returns="streaming").remote())):
        with pytest.raises(ActorDiedError):
            shoal.get(result, timeout=LIMIT_S)
    assert found.keep.options(num_returns=0).remote() is None


def test_a_weak_handle_stays_weak_where_it_is_sent() -> None:
    box, other = Box.options(name="sent").remote(), Box.remote()
    life = Life(box)
    back = shoal.get(pass_through.remote(shoal.get_actor("sent")), timeout=LIMIT_S)
    assert shoal.get(other.keep.remote(shoal.get_actor("sent")), timeout=LIMIT_S) == 1
    assert shoal.get(other.count_through_kept.remote(), timeout=LIMIT_S) == 0
    del box
    assert life.ended() and back is not None
    with pytest.raises(ActorDiedError):
        shoal.get(other.count_through_kept.remote(), timeout=LIMIT_S)


def test_a_counting_handle_that_is_sent_counts_also_where_a_weak_one_is() -> None:
    box, other = Box.options(name="both").remote(), Box.remote()
    life = Life(box)
    shoal.get([other.keep.remote(shoal.get_actor("both")), other.keep.remote(box)], timeout=LIMIT_S)
    del box
    assert shoal.get(shoal.get_actor("both").keep.remote(), timeout=LIMIT_S) == 0
    del other
    assert life.ended()


@pytest.mark.parametrize("how", ["keeps", "gives"])
def test_an_actor_that_has_its_own_handle_ends_with_the_last_handle_of_others(how: str) -> None:
    box, other = Box.remote(), Box.remote()
    life = Life(box)
    mine = shoal.get(box.keep_oneself.remote() if how == "keeps" else box.give_oneself.remote(other), timeout=LIMIT_S)
    assert mine is None or mine == box
    del box
    assert life.ended()


def test_calls_through_both_kinds_of_handles_keep_their_order() -> None:
    box = Box.options(name="order").remote()
    found, late = shoal.get_actor("order"), Box.remote()
    pending = late.keep.remote(0)  # constructs first: not ready when it is passed on
    calls = [(found if number % 2 else box).keep.remote(pending if number == 0 else number) for number in range(8)]
    assert shoal.get(calls, timeout=LIMIT_S) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_get_if_exists_gives_a_handle_that_counts() -> None:
    box = Box.options(name="shared", get_if_exists=True).remote()
    life = Life(box)
    also = Box.options(name="shared", get_if_exists=True).remote()
    del box
    assert shoal.get(also.keep.remote(), timeout=LIMIT_S) == 0
    del also
    assert life.ended()
