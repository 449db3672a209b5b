"""A producer that waits for its reader, on a node with one CPU."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Iterator

ITEMS = 5
LIMIT_S = 20.0


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    shoal.init(num_cpus=1, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote
def double(item: int) -> int:
    return 2 * item


def test_a_task_that_waits_for_room_in_its_stream_lends_its_cpu() -> None:
    @shoal.remote(_generator_backpressure_num_objects=1)
    def produce() -> Iterator[int]:
        yield from range(ITEMS)

    # Each item is only taken once the one before has been worked on, which needs the CPU that the producer has.
    found = [shoal.get(double.remote(item), timeout=LIMIT_S) for item in produce.remote()]
    assert found == [2 * item for item in range(ITEMS)]


def test_an_actor_that_waits_for_room_in_its_stream_lends_its_cpu() -> None:
    @shoal.remote(num_cpus=1)
    class Producer:
        def produce(self) -> Iterator[int]:
            yield from range(ITEMS)

    producer = Producer.remote()
    items = producer.produce.options(_generator_backpressure_num_objects=1).remote()
    # Not the last one: after it the actor waits for nothing, and keeps its CPU.
    found = [shoal.get(double.remote(item), timeout=LIMIT_S) for item in itertools.islice(items, ITEMS - 1)]
    assert found == [2 * item for item in range(ITEMS - 1)]


def test_a_producer_whose_reader_goes_away_while_it_waits_ends_and_gives_its_cpu_back() -> None:
    @shoal.remote(_generator_backpressure_num_objects=1)
    def produce() -> Iterator[int]:
        while True:
            yield 0

    items = produce.remote()
    assert shoal.get(double.remote(next(items)), timeout=LIMIT_S) == 0
    del items
    assert shoal.get([double.remote(item) for item in range(10)], timeout=LIMIT_S) == [2 * item for item in range(10)]
