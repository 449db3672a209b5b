"""Futures, awaits and streams on the real engine: what the watching thread is for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import shoal
from shoal.core import watching

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def session() -> Iterator[None]:
    with shoal.init(num_cpus=2):
        yield


@shoal.remote
class Gate:
    """Opens when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def open(self) -> None:
        self.opened.set()

    async def passed(self, value: int) -> int:
        await self.opened.wait()
        return value


def test_futures_and_awaits_wait_for_their_values(session: None) -> None:
    gate = Gate.remote()
    refs = [gate.passed.remote(number) for number in range(20)]
    future = refs[0].future()

    async def main() -> list[int]:
        waiting = asyncio.gather(*refs)
        await gate.open.remote()
        return list(await waiting)

    assert not future.done()
    assert asyncio.run(main()) == list(range(20))
    assert future.result(5) == 0
    assert shoal.put(7).future().result(5) == 7


def test_one_thread_serves_them_all_and_the_next_session_too(session: None) -> None:
    @shoal.remote
    def slow(number: int) -> int:
        return number

    for _ in range(2):
        assert sorted(ref.future().result(5) for ref in [slow.remote(number) for number in range(10)]) == list(range(10))
        earlier = [each for each in threading.enumerate() if each.name == "shoal-watcher" and each is not watching._thread]
        for thread in earlier:
            thread.join(5)
        assert not any(thread.is_alive() for thread in earlier)
        shoal.shutdown()
        assert watching._outstanding == 0
        shoal.init(num_cpus=2)


def test_a_stream_is_iterated_asynchronously(session: None) -> None:
    @shoal.remote
    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    async def main() -> list[int]:
        return [await ref async for ref in numbers.remote(30)]

    assert asyncio.run(main()) == list(range(30))


def test_an_awaited_error_is_the_tasks_own(session: None) -> None:
    @shoal.remote
    def fail() -> None:
        raise FileNotFoundError(2, "gone")

    async def main() -> None:
        await fail.remote()

    with pytest.raises(FileNotFoundError) as caught:
        asyncio.run(main())
    assert caught.value.errno == 2
    with pytest.raises(FileNotFoundError):
        fail.remote().future().result(5)
