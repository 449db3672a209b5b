"""What lists of the session's objects and tasks show, on a real session."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

import shoal
from shoal.util.placement_group import placement_group, remove_placement_group
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from shoal.util.state import get_actor, get_placement_group, get_worker, list_actors, list_objects, list_tasks, list_workers

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
    deadline_s = time.monotonic() + 20
    while list_objects() and time.monotonic() < deadline_s:
        time.sleep(0.01)  # polling: workers give back what they have just run
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


def test_failed_tasks_say_why_while_their_results_are_referred_to() -> None:
    @shoal.remote(max_retries=0)
    def fail(how: str) -> None:
        if how == "dies":
            os._exit(3)
        raise ValueError("it was asked for")

    @shoal.remote(num_cpus=10**6)
    def never() -> None: ...

    @shoal.remote
    def waits() -> str:
        time.sleep(0.1)  # there is no event: its reader is cancelled while this runs
        return ""

    refs = {"dies": fail.options(name="dies").remote("dies"), "raises": fail.options(name="raises").remote("")}
    refs["never"] = never.options(name="never").remote()
    argument = waits.remote()
    refs["cancelled"] = fail.options(name="cancelled").remote(argument)
    shoal.cancel(refs["cancelled"])
    shoal.wait(list(refs.values()), num_returns=4, timeout=20)
    told = {row.name: row for row in list_tasks(filters=[("state", "=", "FAILED")], detail=True) if row.name in refs}
    assert {name: row.error_type for name, row in told.items()} == {
        "dies": "WORKER_DIED",
        "raises": "TASK_EXECUTION_EXCEPTION",
        "never": "TASK_UNSCHEDULABLE_ERROR",
        "cancelled": "TASK_CANCELLED",
    }
    assert "ValueError: it was asked for" in (told["raises"].error_message or "")
    assert "exited with code 3" in (told["dies"].error_message or "")
    shoal.get(argument)


def test_the_construction_of_an_actor_is_a_task() -> None:
    @shoal.remote(num_cpus=0)
    class Made:
        def __init__(self, fails: bool) -> None:
            if fails:
                raise ValueError("no")

        def pid(self) -> int:
            return os.getpid()

    made, failed = Made.remote(False), Made.remote(True)
    pid = shoal.get(made.pid.remote())
    with pytest.raises(shoal.exceptions.ActorDiedError):
        shoal.get(failed.pid.remote())
    rows = {row.actor_id: row for row in list_tasks(filters=[("type", "=", "ACTOR_CREATION_TASK")], detail=True, limit=10_000)}
    done, wrong = (rows[actor._actor_id.hex()] for actor in (made, failed))
    assert (done.name, done.state, done.worker_pid) == ("Made.__init__", "FINISHED", pid)
    assert (wrong.name, wrong.state) == ("Made.__init__", "FAILED") and "constructor" in (wrong.error_message or "")


def test_actors_and_placement_groups_tell_what_they_were_asked_with() -> None:
    @shoal.remote(num_cpus=0.5, runtime_env={"env_vars": {"ASKED": "yes"}})
    class Asked:
        def die(self) -> None:
            os._exit(3)

    group = placement_group([{"CPU": 0.5}], name="asked")
    actor = Asked.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote()
    with pytest.raises(shoal.exceptions.ActorDiedError):
        shoal.get(actor.die.remote())
    row = get_actor(actor._actor_id.hex())
    assert row is not None and row.required_resources == {"CPU": 0.5} and row.placement_group_id == group.id.hex()
    assert row.job_id == shoal.get_runtime_context().get_job_id()
    assert json.loads(row.serialized_runtime_env or "") == {"env_vars": {"ASKED": "yes"}}
    assert row.death_cause is not None and "code 3" in row.death_cause["actor_died_error_context"]["error_message"]
    found = get_placement_group(group.id.hex())
    assert found is not None and (found.name, found.is_detached, found.creator_job_id) == ("asked", False, row.job_id)
    assert [bundle["unit_resources"] for bundle in found.bundles or ()] == [{"CPU": 0.5}]
    remove_placement_group(group)


def test_workers_that_have_ended_say_how_and_why() -> None:
    """The ways in which tasks and actors end, as the state API tells them."""

    @shoal.remote(num_cpus=0)
    class Actor:
        def pid(self) -> int:
            return os.getpid()

        def leave(self) -> None:
            shoal.actor.exit_actor()

        def crash(self) -> None:
            os._exit(3)

    @shoal.remote(num_cpus=0)
    class Broken:
        def __init__(self, note: list[int]) -> None:
            raise ValueError("no")

    @shoal.remote(max_retries=0)
    def crash() -> None:
        os._exit(5)

    ends: dict[str, Callable[[Any], Any]] = {
        "leave": lambda actor: actor.leave.remote(),
        "crash": lambda actor: actor.crash.remote(),
        "kill": shoal.kill,
    }
    actors = {name: Actor.remote() for name in ends}
    pids = {name: shoal.get(actor.pid.remote()) for name, actor in actors.items()}
    for name, end in ends.items():
        end(actors[name])
    broken = Broken.remote([])
    with pytest.raises(shoal.exceptions.WorkerCrashedError):
        shoal.get(crash.options(name="crashes").remote())

    def ended() -> dict[int, Any]:
        return {row.pid: row for row in list_workers(detail=True, filters=[("is_alive", "=", False)])}

    _until(lambda: set(pids.values()) <= set(ended()))
    _until(lambda: any(row.exit_type == "USER_ERROR" for row in ended().values()))
    rows = {name: ended()[pid] for name, pid in pids.items()}
    assert {name: row.exit_type for name, row in rows.items()} == {
        "leave": "INTENDED_USER_EXIT",
        "crash": "SYSTEM_ERROR",
        "kill": "INTENDED_SYSTEM_EXIT",
    }
    assert "exit_actor()" in rows["leave"].exit_detail and "exited with code 3" in rows["crash"].exit_detail
    assert "ray.kill" in rows["kill"].exit_detail
    assert all(0 < row.start_time_ms <= row.end_time_ms for row in rows.values())
    [task] = list_tasks(filters=[("name", "=", "crashes")])
    worker = get_worker(task.worker_id)
    assert worker is not None and worker.pid == task.worker_pid and "exited with code 5" in (worker.exit_detail or "")
    del broken


def test_a_call_that_died_with_its_actor_says_why_though_nobody_refers_to_its_result() -> None:
    @shoal.remote(num_cpus=0)
    class Fragile:
        def crash(self) -> None:
            os._exit(6)

    fragile = Fragile.remote()
    fragile.crash.options(name="unheard").remote()

    def rows() -> list[Any]:
        return list_tasks(filters=[("name", "=", "unheard"), ("state", "=", "FAILED")], detail=True)

    _until(lambda: bool(rows()))
    [row] = rows()
    assert row.error_type == "ACTOR_DIED" and "exited with code 6" in (row.error_message or "")


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)  # polling: what it waits for is in another process
