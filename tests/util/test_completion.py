from __future__ import annotations

import asyncio

import pytest

import shoal
from shoal.util import as_completed, helpers, map_unordered

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote(num_cpus=0)
class Gate:
    def __init__(self) -> None:
        self._opened: dict[int, asyncio.Event] = {}

    def _event(self, number: int) -> asyncio.Event:
        return self._opened.setdefault(number, asyncio.Event())

    async def wait(self, number: int) -> int:
        await self._event(number).wait()
        return number

    async def open(self, number: int) -> None:
        self._event(number).set()


@shoal.remote
def square(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value * value


@pytest.mark.parametrize("yield_obj_refs", [True, False])
def test_results_come_in_the_order_in_which_they_finish(yield_obj_refs: bool) -> None:
    gate = Gate.remote()
    results = as_completed([gate.wait.remote(number) for number in range(3)], chunk_size=1, yield_obj_refs=yield_obj_refs)
    seen = []
    for number in (2, 0, 1):
        shoal.get(gate.open.remote(number))
        seen.append(next(results))
    assert (shoal.get(seen) if yield_obj_refs else seen) == [2, 0, 1]


def test_a_chunk_keeps_the_order_of_its_refs() -> None:
    gate = Gate.remote()
    results = as_completed([gate.wait.remote(number) for number in range(4)], chunk_size=2)
    shoal.get([gate.open.remote(3), gate.open.remote(1)])
    assert [next(results), next(results)] == [1, 3]
    shoal.get([gate.open.remote(0), gate.open.remote(2)])
    assert list(results) == [0, 2]


def test_map_unordered_returns_every_result() -> None:
    assert sorted(map_unordered(square, [0, 1, 2])) == [0, 1, 4]


def test_map_unordered_bounds_what_is_in_flight() -> None:
    gate = Gate.remote()
    read: list[int] = []

    def numbers():
        for number in range(5):
            read.append(number)
            yield number

    results = map_unordered(gate.wait, numbers(), backpressure_size=2, chunk_size=1)
    shoal.get([gate.open.remote(number) for number in range(5)])
    assert next(results) in (0, 1)
    assert read == [0, 1]
    assert len(list(results)) == 4


def test_map_unordered_without_bound_reads_everything_first() -> None:
    results = map_unordered(square, iter([1, 2]), backpressure_size=None, yield_obj_refs=True)
    assert sorted(shoal.get(list(results))) == [1, 4]


def test_the_error_of_a_task_is_raised_to_the_reader() -> None:
    with pytest.raises(ValueError, match="three"):
        list(map_unordered(square, [3]))


def test_bad_arguments_are_refused_when_called() -> None:
    with pytest.raises(ValueError, match="chunk_size must be >= 1, but got chunk_size=0"):
        as_completed([], chunk_size=0)
    with pytest.raises(ValueError, match="use chunk_size instead of num_returns"):
        as_completed([], num_returns=2)
    with pytest.raises(ValueError, match="backpressure_size must be > 0"):
        map_unordered(square, [], backpressure_size=0)


def test_helpers_is_the_name_rays_programs_use() -> None:
    assert helpers.as_completed is as_completed
    assert helpers.map_unordered is map_unordered
