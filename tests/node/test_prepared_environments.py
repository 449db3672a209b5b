"""Work whose environment is being installed: it waits without holding anything, and goes on or fails with the answer."""

from __future__ import annotations

import json

import pytest

from shoal.node import events as e

from .simulated_node import DRIVER, SimulatedNode

PIP = json.dumps({"pip": {"packages": ["a"]}})


@pytest.mark.parametrize("fields", [{"env_vars": {"A": "1"}}, {"working_dir": "/somewhere"}, {"conda": "name"}])
def test_most_environments_need_no_preparation(fields: dict[str, object]) -> None:
    node = SimulatedNode()
    node.submit(node.queue(node.register({"CPU": 1}, runtime_env=json.dumps(fields))))
    assert not node.preparing and len(node.running()) == 1


@pytest.mark.parametrize("fields", [{"pip": {}}, {"uv": {"packages": ["a"]}}, {"py_executable": "python"}])
def test_only_what_is_given_is_prepared(fields: dict[str, object]) -> None:
    node = SimulatedNode()
    node.register({"CPU": 1}, runtime_env=json.dumps(fields))
    assert bool(node.preparing) == all(fields.values())


def test_tasks_wait_for_their_environment_and_hold_nothing_meanwhile() -> None:
    node = SimulatedNode({"CPU": 1.0})
    waiting = node.queue(node.register({"CPU": 1}, runtime_env=PIP))
    node.submit(waiting)
    assert node.preparing == [(PIP, DRIVER)] and not node.slots
    assert not node.starving and node.brain.wants_tick_s() is None  # no timer runs
    node.later(3600)
    plain = node.queue()
    node.submit(plain)
    node.finish(node.running(plain)[0].slot)
    node.tell(e.EnvironmentReady(PIP))
    node.finish_all()
    assert len(node.finished) == 2


def test_an_environment_is_prepared_once_and_every_driver_is_told() -> None:
    node = SimulatedNode()
    node.tell(e.DriverConnected(2, 2000))
    node.register({"CPU": 1}, runtime_env=PIP)
    node.register({"CPU": 2}, runtime_env=PIP)
    node.tell(e.EnvironmentReady(PIP))
    node.register({"CPU": 0.5}, runtime_env=PIP)
    assert node.preparing == [(PIP, DRIVER), (PIP, DRIVER)]


def test_the_failure_reaches_tasks_and_actors_that_wait_and_that_come_later() -> None:
    node = SimulatedNode()
    class_id = node.register({"CPU": 1}, runtime_env=PIP)
    records = node.submit(node.queue(class_id), 3)
    actor = node.create_actor(creation_class_id=class_id)
    node.tell(e.EnvironmentFailed(PIP, "no such package"))
    node.look()
    later = node.submit(node.queue(node.register({"CPU": 2}, runtime_env=PIP)))
    late_actor = node.create_actor(creation_class_id=class_id, ready=False)
    for record in [*records, *later]:
        assert node.failed[record] == e.ErrorFacts("environment_failed", "no such package")
    assert [node.actor(each).state for each in (actor, late_actor)] == ["DEAD", "DEAD"]
    assert {error.kind for error in node.ended_actors.values()} == {"environment_failed"}
    assert not node.slots


def test_an_actor_starts_when_its_environment_is_ready() -> None:
    node = SimulatedNode()
    actor = node.create_actor(creation_class_id=node.register({"CPU": 1}, runtime_env=PIP))
    assert not node.slots
    node.tell(e.EnvironmentReady(PIP))
    node.started(actor)
    assert node.actor(actor).state == "ALIVE"
