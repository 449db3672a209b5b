"""What lists of the session's objects and tasks show, on a real session."""

from __future__ import annotations

import time

import pytest

import shoal
from shoal.util.state import list_objects, list_tasks

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
