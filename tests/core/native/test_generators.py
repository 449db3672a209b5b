from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import RayTaskError, TaskCancelledError

pytestmark = pytest.mark.usefixtures("cluster")


@shoal.remote
def count(number: int, failing: bool = False) -> Any:
    yield from range(number)
    if failing:
        raise ValueError("it stopped here")


def test_a_stream_yields_references_in_order_and_ends() -> None:
    stream = count.remote(3)
    assert isinstance(stream, shoal.ObjectRefGenerator)
    assert [shoal.get(ref) for ref in stream] == [0, 1, 2]
    assert stream.is_finished()
    with pytest.raises(StopIteration):
        next(stream)


def test_an_error_is_the_last_reference() -> None:
    refs = list(count.remote(2, failing=True))
    assert shoal.get(refs[:2]) == [0, 1]
    assert len(refs) == 3
    with pytest.raises(ValueError, match="it stopped here"):
        shoal.get(refs[2])


def test_items_arrive_while_the_task_still_runs(tmp_path: Path) -> None:
    @shoal.remote
    def slow() -> Any:
        yield "first"
        while not (tmp_path / "go").exists():
            pass
        yield "second"

    stream = slow.remote()
    assert shoal.wait([stream, stream.completed()], timeout=30) == ([stream], [stream.completed()])
    assert shoal.wait([stream.completed()], timeout=0)[0] == []
    assert shoal.get(next(stream)) == "first"
    assert not stream.next_ready()
    (tmp_path / "go").touch()
    assert shoal.get(next(stream)) == "second"
    assert shoal.get(stream.completed()) is None


def test_backpressure_holds_the_producer_back(tmp_path: Path) -> None:
    @shoal.remote(_generator_backpressure_num_objects=2)
    def produce() -> Any:
        for number in range(6):
            (tmp_path / str(number)).touch()
            yield number

    stream = produce.remote()
    assert shoal.get(next(stream)) == 0
    assert not (tmp_path / "5").exists()
    assert [shoal.get(ref) for ref in stream] == [1, 2, 3, 4, 5]


def test_a_stream_can_be_awaited() -> None:
    async def collect() -> list[int]:
        return [await ref async for ref in count.remote(4)]

    assert asyncio.run(collect()) == [0, 1, 2, 3]


def test_a_stream_can_be_waited_for_with_others() -> None:
    stream = count.remote(1)
    assert shoal.wait([stream], timeout=20) == ([stream], [])
    assert shoal.get(stream) is stream


def test_a_cancelled_stream_ends_with_the_cancellation(tmp_path: Path) -> None:
    @shoal.remote
    def endless() -> Any:
        while True:
            yield 1

    stream = endless.options(_generator_backpressure_num_objects=1).remote()
    assert shoal.get(next(stream)) == 1
    shoal.cancel(stream)
    with pytest.raises(TaskCancelledError):
        for ref in stream:
            shoal.get(ref)


def test_a_stream_that_nobody_reads_any_more_ends_its_task() -> None:
    @shoal.remote(num_cpus=4, _generator_backpressure_num_objects=1)
    def endless() -> Any:
        while True:
            yield 1

    stream = endless.remote()
    next(stream)
    del stream
    gc.collect()
    assert [shoal.get(ref) for ref in count.options(num_cpus=4).remote(1)] == [0]


def test_a_fixed_number_of_results_takes_the_first_items() -> None:
    assert shoal.get(count.options(num_returns=2).remote(5)) == [0, 1]
    assert shoal.get(count.options(num_returns=1).remote(5)) == 0


def test_items_before_an_error_are_kept_and_the_other_results_are_the_error() -> None:
    first, second, third = count.options(num_returns=3).remote(1, failing=True)
    assert shoal.get(first) == 0
    for ref in (second, third):
        with pytest.raises(ValueError, match="it stopped here"):
            shoal.get(ref)


def test_too_few_items_are_an_error() -> None:
    refs = count.options(num_returns=3).remote(2)
    assert shoal.get(refs[:2]) == [0, 1]
    with pytest.raises(ValueError, match="num_returns=3"):
        shoal.get(refs[2])


def test_a_dynamic_number_of_results_is_one_reference_to_references() -> None:
    refs = list(shoal.get(count.options(num_returns="dynamic").remote(2, failing=True)))
    assert shoal.get(refs[:2]) == [0, 1]
    with pytest.raises(RayTaskError, match="it stopped here"):
        shoal.get(refs[2])


def test_methods_of_actors_stream() -> None:
    @shoal.remote(num_cpus=0)
    class Source:
        def items(self, number: int) -> Any:
            yield from range(number)

    source = Source.remote()
    assert [shoal.get(ref) for ref in source.items.remote(3)] == [0, 1, 2]


def test_a_stream_cannot_be_passed_on() -> None:
    with pytest.raises(TypeError, match="pickled"):
        count.remote(count.remote(1))
