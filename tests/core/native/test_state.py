"""What lists of the session's objects and tasks show, on a real session."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import shoal
from shoal.util.state import list_actors, list_objects, list_tasks, list_workers

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def objects() -> list[str]:
    return [row.task_status for row in list_objects()]


@shoal.remote
def some() -> object:
    yield 1
    raise ValueError("the last")


@shoal.remote
def objects_after_a_stream() -> int:
    stream = some.remote()
    shoal.get(next(stream))
    with pytest.raises(ValueError, match="the last"):
        shoal.get(next(stream))
    del stream
    deadline_s = time.monotonic() + 20
    while len(list_objects()) > 1 and time.monotonic() < deadline_s:
        time.sleep(0.01)  # polling: what it waits for is in another process
    return len(list_objects())


def test_functions_are_no_objects_and_results_under_way_are() -> None:
    assert shoal.get(objects.remote()) == ["RUNNING"]


def test_a_stream_leaves_no_object_behind() -> None:
    assert shoal.get(objects_after_a_stream.remote()) == 1


def test_tasks_that_ended_are_remembered_by_name() -> None:
    @shoal.remote
    def work(fails: bool) -> str | None:
        if fails:
            raise ValueError("it was asked for")
        return shoal.get_runtime_context().get_task_id()

    task_id = shoal.get(work.options(name="done").remote(False))
    with pytest.raises(ValueError, match="it was asked for"):
        shoal.get(work.options(name="broken").remote(True))
    [done] = list_tasks(filters=[("name", "=", "done")])
    assert (done.task_id, done.state) == (task_id, "FINISHED")
    assert [row.state for row in list_tasks(filters=[("name", "=", "broken")])] == ["FAILED"]
    assert {event["name"] for event in shoal.timeline()} >= {"done", "broken"}


def test_a_value_that_was_put_is_listed_while_it_is_referred_to() -> None:
    ref = shoal.put(1)
    assert [row.object_id for row in list_objects()] == [ref.hex()]
    del ref
    assert list_objects() == []


def test_tasks_tell_where_they_run_and_who_started_them() -> None:
    @shoal.remote
    def child(door: list[Any]) -> None:
        shoal.get(door)

    @shoal.remote(num_cpus=0)
    class Parent:
        def run(self, door: list[Any]) -> Any:
            shoal.get(child.options(name="the child").remote(door))

        def later(self) -> None: ...

    @shoal.remote(num_cpus=0)
    class Door:
        def __init__(self) -> None:
            self.opened = asyncio.Event()

        async def wait(self) -> None:
            await self.opened.wait()

        async def open(self) -> None:
            self.opened.set()

    door, parent = Door.remote(), Parent.remote()
    running = parent.run.remote([door.wait.remote()])
    waiting = parent.later.remote()
    _until(lambda: [row.state for row in list_tasks(filters=[("name", "=", "the child")])] == ["RUNNING"])
    [inner] = list_tasks(filters=[("name", "=", "the child")])
    [outer] = list_tasks(filters=[("task_id", "=", running.task_id().hex())])
    [queued] = list_tasks(filters=[("NAME", "=", "Parent.later")])
    actor = next(row for row in list_actors() if row.class_name == "Parent")
    workers = {row.worker_id: row.pid for row in list_workers()}
    assert (inner.parent_task_id, outer.actor_id, outer.worker_pid) == (outer.task_id, actor.actor_id, actor.pid)
    assert workers[inner.worker_id] == inner.worker_pid != outer.worker_pid == workers[outer.worker_id]
    assert inner.actor_id is None
    assert inner.node_id == outer.node_id == shoal.get_runtime_context().get_node_id()
    assert inner.job_id == outer.job_id == shoal.get_runtime_context().get_job_id()
    assert (queued.state, queued.worker_pid) == ("PENDING_ACTOR_TASK_ORDERING_OR_CONCURRENCY", None)
    assert queued.parent_task_id == "f" * 40 + inner.job_id
    shoal.get([door.open.remote(), running, waiting], timeout=20)


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)  # polling: what it waits for is in another process
