from __future__ import annotations

import pytest

import shoal
from shoal.util import list_named_actors

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Named:
    def ready(self) -> None:
        return None


def test_names_of_this_namespace_are_listed() -> None:
    first = Named.options(name="first").remote()
    elsewhere = Named.options(name="second", namespace="elsewhere").remote()
    shoal.get([first.ready.remote(), elsewhere.ready.remote()])
    assert list_named_actors() == ["first"]
    assert {"name": "second", "namespace": "elsewhere"} in list_named_actors(all_namespaces=True)


def test_a_killed_actor_has_no_name() -> None:
    actor = Named.options(name="killed").remote()
    shoal.get(actor.ready.remote())
    assert "killed" in list_named_actors()
    shoal.kill(actor)
    assert "killed" not in list_named_actors()
