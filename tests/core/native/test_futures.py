from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

import pytest

import shoal

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
def double(value: int) -> int:
    return value * 2


@shoal.remote(num_cpus=0)
def fail() -> None:
    raise KeyError("failed")


def test_a_reference_is_a_concurrent_future() -> None:
    futures = [double.remote(number).future() for number in range(10)]
    done, pending = concurrent.futures.wait(futures, timeout=20)
    assert not pending
    assert sorted(future.result() for future in done) == [2 * number for number in range(10)]


def test_a_future_holds_the_error_of_the_task() -> None:
    future = fail.remote().future()
    with pytest.raises(KeyError, match="failed"):
        future.result(timeout=20)


def test_callbacks_of_a_future_are_called() -> None:
    called: concurrent.futures.Future[Any] = concurrent.futures.Future()
    double.remote(4).future().add_done_callback(lambda future: called.set_result(future.result()))
    assert called.result(timeout=20) == 8


def test_coroutines_await_references() -> None:
    async def use() -> tuple[list[int], int]:
        many = await asyncio.gather(*[double.remote(number) for number in range(10)])
        ready = shoal.put(1)
        return list(many), await ready

    many, one = asyncio.run(use())
    assert many == [2 * number for number in range(10)]
    assert one == 1


def test_a_future_can_be_made_before_its_loop_runs() -> None:
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())  # no loop has been set under it
    try:
        future = double.remote(4).as_future()
        loop = future.get_loop()
        assert loop.run_until_complete(asyncio.wait_for(future, 20)) == 8
        assert double.remote(5).as_future().get_loop() is loop
        loop.close()
    finally:
        asyncio.set_event_loop_policy(before)


def test_an_await_raises_the_error_of_the_task() -> None:
    async def use() -> None:
        await fail.remote()

    with pytest.raises(KeyError, match="failed"):
        asyncio.run(use())


def test_references_work_with_the_tools_of_asyncio() -> None:
    async def use() -> tuple[set[int], bool]:
        done, _ = await asyncio.wait([asyncio.ensure_future(_value(double.remote(number))) for number in (1, 2)])
        first = await asyncio.wait_for(_value(double.remote(3)), timeout=20)
        return {task.result() for task in done}, first == 6

    async def _value(ref: Any) -> int:
        return int(await ref)

    assert asyncio.run(use()) == ({2, 4}, True)


def test_cancelling_a_future_leaves_the_task_alone() -> None:
    ref = double.remote(21)
    ref.future().cancel()
    assert shoal.get(ref) == 42
