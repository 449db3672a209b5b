from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import shoal

pytestmark = pytest.mark.usefixtures("cluster")


def _ids() -> dict[str, Any]:
    context = shoal.get_runtime_context()
    return {
        "job": context.get_job_id(),
        "node": context.get_node_id(),
        "worker": context.get_worker_id(),
        "task": context.get_task_id(),
        "actor": context.get_actor_id(),
        "name": context.get_task_name(),
        "function": context.get_task_function_name(),
        "actor_name": context.get_actor_name(),
    }


@shoal.remote(num_cpus=0)
def ids() -> dict[str, Any]:
    return _ids()


@shoal.remote(num_cpus=0)
class Actor:
    def ids(self) -> dict[str, Any]:
        return _ids()

    def handle(self) -> Any:
        return shoal.get_runtime_context().current_actor

    def restarted(self) -> bool:
        return shoal.get_runtime_context().was_current_actor_reconstructed

    def die(self) -> None:
        os._exit(1)


def test_a_driver_knows_its_job_and_node_but_has_no_task() -> None:
    found = _ids()
    assert found["job"]
    assert found["node"] == shoal.nodes()[0]["NodeID"]
    assert found["task"] is None
    assert found["actor"] is None
    assert found["actor_name"] is None


def test_a_task_knows_its_own_ids() -> None:
    ref = ids.remote()
    found = shoal.get(ref)
    assert found["task"] == ref.task_id().hex()
    assert found["job"] == _ids()["job"]
    assert found["node"] == _ids()["node"]
    assert found["worker"] != _ids()["worker"]
    assert found["actor"] is None
    assert found["name"] == "ids"
    assert found["function"].endswith(".ids")
    assert shoal.get(ids.options(name="other").remote())["name"] == "other"


def test_an_actor_knows_its_id_and_name() -> None:
    actor = Actor.options(name="known").remote()
    first, second = shoal.get([actor.ids.remote(), actor.ids.remote()])
    assert first["actor"] == second["actor"] == actor._actor_id.hex()
    assert first["task"] != second["task"]
    assert first["name"] == "Actor.ids"
    assert first["actor_name"] == "known"
    assert shoal.get(Actor.remote().ids.remote())["actor_name"] == ""


def test_an_actor_can_hand_out_a_handle_of_itself() -> None:
    actor = Actor.remote()
    assert shoal.get(actor.handle.remote()) == actor


def test_an_actor_knows_that_it_was_restarted() -> None:
    actor = Actor.options(max_restarts=1, max_task_retries=1).remote()
    assert shoal.get(actor.restarted.remote()) is False
    actor.die.options(max_task_retries=0).remote()
    assert shoal.get(actor.restarted.remote(), timeout=20) is True


def test_a_task_knows_the_resources_it_holds() -> None:
    @shoal.remote(num_cpus=2)
    def assigned() -> dict[str, float]:
        return dict(shoal.get_runtime_context().get_assigned_resources())

    assert shoal.get(assigned.remote())["CPU"] == 2


def test_calls_that_an_async_actor_runs_at_once_know_their_own_ids() -> None:
    @shoal.remote(num_cpus=0)
    class Meeting:
        def __init__(self) -> None:
            self.all_here = asyncio.Event()
            self.here = 0

        async def meet(self, parties: int) -> tuple[str | None, str | None]:
            self.here += 1
            if self.here == parties:
                self.all_here.set()
            await self.all_here.wait()
            context = shoal.get_runtime_context()
            return context.get_task_id(), context.get_task_name()

    meeting = Meeting.remote()
    refs = [meeting.meet.options(name=f"call {number}").remote(5) for number in range(5)]
    assert shoal.get(refs) == [(ref.task_id().hex(), f"call {number}") for number, ref in enumerate(refs)]
