from __future__ import annotations

import asyncio
from typing import Any

import pytest

import shoal
from shoal.exceptions import GetTimeoutError, RayActorError
from shoal.util.queue import Empty, Full, Queue

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
def take(queue: Queue) -> Any:
    return queue.get()


@shoal.remote(num_cpus=0)
def add(queue: Queue, item: Any) -> None:
    queue.put(item)


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    queue = Queue()
    for item in range(5):
        queue.put(item)
    assert len(queue) == queue.size() == queue.qsize() == 5
    assert [queue.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert queue.empty()


def test_a_queue_needs_no_free_cpu_unless_it_is_asked_to() -> None:
    @shoal.remote(num_cpus=4)
    def use_every_cpu() -> int:
        queue = Queue()
        queue.put(1)
        return int(queue.get())

    assert shoal.get(use_every_cpu.remote(), timeout=30) == 1
    queue = Queue(actor_options={"num_cpus": 3})
    queue.put(1)
    assert shoal.available_resources()["CPU"] == 1


def test_get_raises_empty_at_once_or_after_the_timeout() -> None:
    queue = Queue()
    for get in (queue.get_nowait, lambda: queue.get(block=False), lambda: queue.get(timeout=0.01)):
        with pytest.raises(Empty):
            get()


def test_put_raises_full_at_once_or_after_the_timeout() -> None:
    queue = Queue(1)
    queue.put(0, timeout=5)
    assert queue.full()
    for put in (queue.put_nowait, lambda item: queue.put(item, block=False), lambda item: queue.put(item, timeout=0.01)):
        with pytest.raises(Full):
            put(1)
    assert queue.get(timeout=5) == 0


def test_negative_timeouts_are_refused() -> None:
    queue = Queue()
    with pytest.raises(ValueError, match="timeout must be >= 0, but got timeout=-1"):
        queue.get(timeout=-1)
    with pytest.raises(ValueError, match="timeout must be >= 0, but got timeout=-1"):
        queue.put(0, timeout=-1)


def test_coroutines_put_and_get() -> None:
    async def use(queue: Queue) -> None:
        await queue.put_async(1)
        await queue.put_async(2, block=False)
        with pytest.raises(Full):
            await queue.put_async(3, block=False)
        with pytest.raises(Full):
            await queue.put_async(3, timeout=0.01)
        assert [await queue.get_async(), await queue.get_async(block=False)] == [1, 2]
        with pytest.raises(Empty):
            await queue.get_async(block=False)
        with pytest.raises(Empty):
            await queue.get_async(timeout=0.01)
        with pytest.raises(ValueError, match="timeout must be >= 0"):
            await queue.get_async(timeout=-1)
        with pytest.raises(ValueError, match="timeout must be >= 0"):
            await queue.put_async(0, timeout=-1)

    asyncio.run(use(Queue(2)))


def test_a_task_that_waits_for_an_item_gets_the_next_one() -> None:
    queue = Queue()
    taken = take.remote(queue)
    with pytest.raises(GetTimeoutError):
        shoal.get(taken, timeout=0.05)
    queue.put("item")
    assert shoal.get(taken) == "item"


def test_a_task_that_waits_for_room_puts_when_there_is_some() -> None:
    queue = Queue(1)
    queue.put(1)
    added = add.remote(queue, 2)
    assert queue.get() == 1
    shoal.get(added)
    assert queue.get() == 2


def test_batches_are_all_or_nothing() -> None:
    queue = Queue(3)
    with pytest.raises(Full, match="no room for 4 items: the queue holds 0 of maxsize=3"):
        queue.put_nowait_batch(range(4))
    queue.put_nowait_batch(range(3))
    with pytest.raises(Empty, match="cannot get num_items=4: the queue holds 3"):
        queue.get_nowait_batch(4)
    assert queue.get_nowait_batch(3) == [0, 1, 2]
    assert queue.get_nowait_batch(0) == []


def test_bad_batches_are_refused() -> None:
    queue = Queue()
    with pytest.raises(TypeError, match="items must be an iterable, but got items=1"):
        queue.put_nowait_batch(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="num_items must be an int"):
        queue.get_nowait_batch("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_items must be >= 0, but got num_items=-1"):
        queue.get_nowait_batch(-1)


def test_shutdown_ends_the_actor() -> None:
    queue = Queue()
    actor = queue.actor
    queue.shutdown()
    assert queue.actor is None
    with pytest.raises(RayActorError):
        shoal.get(actor.empty.remote())
    queue.shutdown()


def test_forced_shutdown_does_not_wait_for_calls() -> None:
    queue = Queue()
    taken = take.remote(queue)
    queue.shutdown(force=True)
    with pytest.raises(RayActorError):
        shoal.get(taken)


def test_actor_options_name_the_actor() -> None:
    queue = Queue(actor_options={"name": "a-queue", "num_cpus": 1})
    queue.put(1)
    assert shoal.get(shoal.get_actor("a-queue").qsize.remote()) == 1
    queue.shutdown()
