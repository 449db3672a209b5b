from __future__ import annotations

import threading
from typing import Any

import pytest

import shoal
from shoal.util.actor_pool import ActorPool

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Worker:
    def __init__(self) -> None:
        self._opened = threading.Event()

    def double(self, value: int) -> int:
        if value < 0:
            raise ValueError(f"negative: {value}")
        return 2 * value

    @shoal.method(num_returns=2)
    def both(self) -> tuple[int, int]:
        return 1, 2

    def ready(self) -> None:
        return None


@shoal.remote(num_cpus=0)
class Gate:
    """Calls of ``wait`` return once ``open`` was called."""

    def __init__(self) -> None:
        import asyncio

        self._opened = asyncio.Event()

    async def wait(self, value: Any = None) -> Any:
        await self._opened.wait()
        return value

    async def open(self) -> None:
        self._opened.set()

    async def echo(self, value: Any) -> Any:
        return value


def double(worker: Any, value: int) -> Any:
    return worker.double.remote(value)


def echo_or_wait(gate: Any, value: int) -> Any:
    return gate.wait.remote(value) if value == 0 else gate.echo.remote(value)


def test_map_returns_results_in_the_order_of_the_values() -> None:
    pool = ActorPool([Worker.remote() for _ in range(2)])
    assert list(pool.map(double, range(5))) == [0, 2, 4, 6, 8]


def test_map_unordered_returns_every_result() -> None:
    pool = ActorPool([Worker.remote() for _ in range(2)])
    assert sorted(pool.map_unordered(double, range(5))) == [0, 2, 4, 6, 8]


def test_map_submits_before_it_is_iterated() -> None:
    calls: list[int] = []

    def remember(worker: Any, value: int) -> Any:
        calls.append(value)
        return worker.double.remote(value)

    results = ActorPool([Worker.remote()]).map(remember, [1, 2])
    assert calls == [1]
    assert list(results) == [2, 4]


def test_unordered_results_overtake_a_slow_call() -> None:
    gate = Gate.remote()
    pool = ActorPool([gate, Gate.remote()])
    pool.submit(echo_or_wait, 1)
    pool.submit(echo_or_wait, 2)
    assert sorted([pool.get_next_unordered(), pool.get_next_unordered()]) == [1, 2]


def test_results_can_be_mixed_with_submissions() -> None:
    pool = ActorPool([Worker.remote()])
    pool.submit(double, 1)
    pool.submit(double, 2)
    assert pool.get_next() == 2
    pool.submit(double, 3)
    assert [pool.get_next(), pool.get_next()] == [4, 6]
    assert not pool.has_next()


def test_a_failed_call_raises_its_error_and_gives_the_actor_back() -> None:
    pool = ActorPool([Worker.remote()])
    pool.submit(double, -1)
    pool.submit(double, 3)
    with pytest.raises(ValueError, match="negative: -1"):
        pool.get_next()
    assert pool.get_next() == 6
    assert pool.has_free()


def test_an_exhausted_pool_raises_stop_iteration() -> None:
    pool = ActorPool([Worker.remote()])
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_ordered_after_unordered_is_refused_while_order_is_lost() -> None:
    gate, free = Gate.remote(), Gate.remote()
    pool = ActorPool([gate, free])
    pool.submit(echo_or_wait, 0)
    pool.submit(echo_or_wait, 1)
    assert pool.get_next_unordered() == 1
    with pytest.raises(ValueError, match="must not follow get_next_unordered"):
        pool.get_next()


def test_time_out_keeps_the_call_unless_it_is_to_be_ignored() -> None:
    gate = Gate.remote()
    pool = ActorPool([gate])
    pool.submit(echo_or_wait, 0)
    with pytest.raises(TimeoutError, match="timeout=0.01"):
        pool.get_next(timeout=0.01)
    with pytest.raises(TimeoutError, match="timeout=0.01"):
        pool.get_next_unordered(timeout=0.01)
    assert pool.has_next()
    with pytest.raises(TimeoutError, match="is dropped"):
        pool.get_next(timeout=0.01, ignore_if_timedout=True)
    assert not pool.has_next()
    assert pool.has_free()


def test_map_drops_what_was_submitted_before() -> None:
    pool = ActorPool([Gate.remote(), Gate.remote()])
    pool.submit(echo_or_wait, 0)
    assert list(pool.map(lambda gate, value: gate.echo.remote(value), [1, 2, 3])) == [1, 2, 3]


def test_calls_with_several_returns_give_a_list() -> None:
    pool = ActorPool([Worker.remote() for _ in range(2)])
    for _ in range(4):
        pool.submit(lambda worker, _: worker.both.remote(), None)
    assert [pool.get_next(), pool.get_next_unordered(), pool.get_next_unordered(), pool.get_next_unordered()] == [[1, 2]] * 4


def test_idle_actors_can_be_taken_and_pushed() -> None:
    first, second = Worker.remote(), Worker.remote()
    pool = ActorPool([first])
    assert pool.pop_idle() == first
    assert pool.pop_idle() is None
    pool.submit(double, 1)
    assert not pool.has_next()
    pool.push(second)
    assert pool.get_next() == 2
    pool.submit(double, 2)
    with pytest.raises(ValueError, match="must be in the pool once"):
        pool.push(second)
    assert pool.get_next() == 4
    with pytest.raises(ValueError, match="must be in the pool once"):
        pool.push(second)
