from __future__ import annotations

from typing import Any

import pytest

import shoal
from shoal.exceptions import ActorAlreadyExistsError, ActorDiedError
from shoal.util import list_named_actors

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Box:
    def __init__(self, content: Any = None) -> None:
        self.content = content

    def read(self) -> Any:
        return self.content


def test_an_actor_is_found_by_its_name_in_every_process() -> None:
    box = Box.options(name="found").remote("inside")
    assert shoal.get_actor("found") == box

    @shoal.remote(num_cpus=0)
    def read(name: str) -> Any:
        return shoal.get(shoal.get_actor(name).read.remote())

    assert shoal.get(read.remote("found")) == "inside"


def test_a_name_that_nobody_has_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nobody"):
        shoal.get_actor("nobody")
    with pytest.raises(ValueError, match="non-empty"):
        shoal.get_actor("")


def test_a_taken_name_is_refused_or_gives_the_actor_that_has_it() -> None:
    box = Box.options(name="taken").remote(1)
    with pytest.raises(ActorAlreadyExistsError, match="taken"):
        Box.options(name="taken").remote(2)
    again = Box.options(name="taken", get_if_exists=True).remote(3)
    assert again == box
    assert shoal.get(again.read.remote()) == 1


def test_get_if_exists_makes_the_actor_when_there_is_none() -> None:
    box = Box.options(name="made", get_if_exists=True).remote(5)
    assert shoal.get(box.read.remote()) == 5


def test_many_that_ask_at_once_get_one_actor() -> None:
    @shoal.remote(num_cpus=0)
    def ask() -> str:
        box = Box.options(name="one", get_if_exists=True, lifetime="detached").remote()
        shoal.get(box.read.remote())
        return str(box._actor_id.hex())

    assert len(set(shoal.get([ask.remote() for _ in range(8)]))) == 1
    shoal.kill(shoal.get_actor("one"))


def test_names_belong_to_a_namespace() -> None:
    here = Box.options(name="same").remote("here")
    there = Box.options(name="same", namespace="elsewhere").remote("there")
    assert shoal.get(shoal.get_actor("same").read.remote()) == "here"
    assert shoal.get(shoal.get_actor("same", namespace="elsewhere").read.remote()) == "there"
    assert "same" in list_named_actors()
    assert {"name": "same", "namespace": "elsewhere"} in list_named_actors(all_namespaces=True)
    assert here != there


def test_a_name_is_free_again_when_its_actor_is_dead() -> None:
    box = Box.options(name="reused").remote(1)
    assert shoal.get(box.read.remote()) == 1
    shoal.kill(box)
    with pytest.raises(ActorDiedError):
        shoal.get(box.read.remote())
    assert shoal.get(Box.options(name="reused").remote(2).read.remote()) == 2


def test_a_detached_actor_outlives_its_handles_and_its_maker() -> None:
    @shoal.remote(num_cpus=0)
    class Maker:
        def make(self) -> None:
            shoal.get(Box.options(name="lasting", lifetime="detached").remote("kept").read.remote())

    maker = Maker.remote()
    shoal.get(maker.make.remote())
    shoal.kill(maker)
    lasting = shoal.get_actor("lasting")
    assert shoal.get(lasting.read.remote()) == "kept"
    shoal.kill(lasting)
    with pytest.raises(ActorDiedError):
        shoal.get(lasting.read.remote())
