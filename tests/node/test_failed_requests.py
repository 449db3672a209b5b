"""The daemon makes a mistake while it answers a request: that request fails, and nothing else does.

The mistakes are made with messages that no client of ours sends: what checks them is the client."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from shoal.node import events as e

from .driver_process import DriverProcess
from .simulated_node import SimulatedNode

PRELUDE = """
    from shoal.core.native import messages as m
    from shoal.exceptions import RayActorError, RaySystemError
    control = engine.control
    bad = m.InterruptTask(record=-1, uid=0)

    @shoal.remote
    def one():
        return 1

    @shoal.remote
    class Actor:
        def one(self):
            return 1

    def ask(message):
        try:
            control.request(message, 5)
        except RaySystemError as error:
            print("refused:", str(error).splitlines()[0], flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], DriverProcess]]:
    started: list[DriverProcess] = []

    def begin(code: str) -> DriverProcess:
        parts = (PRELUDE, code, "control.request(m.ClusterResources())\nprint('at the end', flush=True)\ntime.sleep(1000)\n")
        started.append(DriverProcess("".join(map(textwrap.dedent, parts)), tmp_path))
        return started[-1]

    yield begin
    for driver in started:
        driver.end()


def output(driver: DriverProcess) -> list[str]:
    lines = [driver.line()]
    while lines[-1] != "at the end":
        lines.append(driver.line())
    return lines


def test_the_asker_gets_the_error_the_driver_one_warning_and_the_log_the_traceback(
    start: Callable[[str], DriverProcess],
) -> None:
    driver = start(
        """
    ask(bad)
    ask(bad)
    control.send(bad)
    print("still works:", shoal.get(one.remote()) + shoal.get(Actor.remote().one.remote()), flush=True)
    """
    )
    lines = output(driver)
    failed = "the node daemon failed to carry out InterruptTask: TypeError: running_slot()"
    assert [failed in line for line in lines if line.startswith("refused:")] == [True, True]
    assert sum(line.startswith("shoal: " + failed) for line in lines) == 1
    assert "still works: 2" in lines
    log = (driver.folder / "logs" / "daemon.log").read_text()
    assert log.count("Traceback") == 3
    assert "_end_task" in log


def test_a_worker_that_asks_gets_the_error_too_and_its_driver_the_warning(start: Callable[[str], DriverProcess]) -> None:
    lines = output(
        start(
            """
    @shoal.remote
    def ask_from_a_task():
        from shoal.core import session
        session.current_engine().control.request(m.InterruptTask(record=-1, uid=0), 5)

    try:
        shoal.get(ask_from_a_task.remote())
    except RaySystemError as error:
        print("raised:", "InterruptTask" in str(error), flush=True)
    """
        )
    )
    assert "raised: True" in lines
    assert any(line.startswith("shoal: the node daemon failed to carry out InterruptTask") for line in lines)


def test_an_actor_whose_request_is_refused_without_an_answer_fails_its_calls(start: Callable[[str], DriverProcess]) -> None:
    lines = output(
        start(
            """
    send = control.send

    def spoil(message):
        if isinstance(message, m.CreateActor):
            message.running_class_id = 10**6
        send(message)

    control.send = spoil
    try:
        shoal.get(Actor.remote().one.remote(), timeout=5)
    except RayActorError as error:
        print("told:", "unknown class" in str(error), flush=True)
    control.send = send
    print("another:", shoal.get(Actor.remote().one.remote()), flush=True)
    """
        )
    )
    assert "told: True" in lines
    assert "another: 1" in lines


def test_an_actor_that_was_known_already_is_ended_when_its_request_fails_half_way() -> None:
    node = SimulatedNode()
    actor = node.actor(node.create_actor(ready=False))
    node.tell(e.ActorNotMade(actor.request, "a mistake"))
    assert node.ended_actors[actor.request.record].message == "it could not be made: a mistake"
    assert not node.brain.actors.living()


def test_an_actor_that_was_not_known_fails_its_calls_and_no_other_actor_ends() -> None:
    node = SimulatedNode()
    actor = node.actor(node.create_actor())
    node.started(actor.actor_id)
    node.tell(e.ActorNotMade(replace(actor.request, record=99), "it exists already"))
    assert node.brain.actors.living() == [actor], "a second request for an id does not end the first one's actor"
    node.tell(e.ActorNotMade(replace(actor.request, record=99, actor_id=b"2"), "no"))
    assert node.ended_actors[99].message == "it could not be made: no"
