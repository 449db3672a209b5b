from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.exceptions import RayError
from shoal.util.multiprocessing import Pool, TimeoutError
from shoal.util.multiprocessing.pool import PoolError, RemoteTraceback


@shoal.remote(num_cpus=0)
class Gate:
    def __init__(self) -> None:
        import asyncio

        self._opened = asyncio.Event()

    async def wait(self) -> None:
        await self._opened.wait()

    async def open(self) -> None:
        self._opened.set()


class NeedsTwo(Exception):
    """Pickles well and cannot be loaded, because its constructor wants two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


def fail_on_odd(value: int) -> int:
    if value % 2:
        raise KeyError(value)
    return value


def test_apply_passes_arguments_and_raises_the_original_error(pool: Pool) -> None:
    def subtract(a: int, b: int, *, c: int = 0) -> int:
        return a - b - c

    assert pool.apply(subtract, (5, 2), {"c": 1}) == 2
    with pytest.raises(TypeError, match="unexpected keyword"):
        pool.apply(subtract, (5, 2), {"d": 1})
    with pytest.raises(KeyError) as caught:
        pool.apply(fail_on_odd, (3,))
    assert type(caught.value) is KeyError
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "fail_on_odd" in str(caught.value.__cause__)


def test_an_error_that_cannot_travel_arrives_as_text(pool: Pool) -> None:
    def fail() -> None:
        raise NeedsTwo("first", "second")

    with pytest.raises(PoolError, match="NeedsTwo: first"):
        pool.apply(fail)


def test_apply_async_can_be_waited_for(pool: Pool) -> None:
    gate = Gate.remote()

    def wait_then_divide(divisor: int) -> float:
        shoal.get(gate.wait.remote())
        return 10 / divisor

    result = pool.apply_async(wait_then_divide, (5,))
    failing = pool.apply_async(wait_then_divide, (0,))
    result.wait(0.01)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(TimeoutError, match="timeout=0.01"):
        result.get(timeout=0.01)
    shoal.get(gate.open.remote())
    assert result.get(timeout=30) == 2
    assert result.successful()
    failing.wait(30)
    assert not failing.successful()
    with pytest.raises(ZeroDivisionError):
        failing.get()


def test_map_keeps_order_and_spreads_over_the_processes(pool: Pool) -> None:
    results = pool.map(lambda value: (value, os.getpid()), range(100))
    assert [value for value, _ in results] == list(range(100))
    counts = Counter(pid for _, pid in results)
    assert len(counts) == 4
    assert min(counts.values()) > 20


def test_map_of_nothing_is_an_empty_list(pool: Pool) -> None:
    assert pool.map(fail_on_odd, []) == []


def test_map_raises_the_first_error_in_the_order_of_the_items(pool: Pool) -> None:
    with pytest.raises(KeyError) as caught:
        pool.map(fail_on_odd, [0, 2, 5, 7], chunksize=1)
    assert caught.value.args == (5,)


def test_starmap_unpacks_each_item(pool: Pool) -> None:
    assert pool.starmap(lambda x, y: x + y, zip([1, 2], [3, 4], strict=True)) == [4, 6]
    assert pool.starmap_async(lambda *args: args, [(), (1,), (1, 2)]).get() == [(), (1,), (1, 2)]


def test_callbacks_get_the_whole_result_or_the_first_error_once(pool: Pool) -> None:
    called: queue.Queue[Any] = queue.Queue()
    pool.apply_async(fail_on_odd, (4,), callback=called.put, error_callback=called.put).get()
    assert called.get(timeout=5) == 4
    pool.map_async(fail_on_odd, [0, 2, 4], callback=called.put, error_callback=called.put).wait()
    assert called.get(timeout=5) == [0, 2, 4]
    pool.map_async(fail_on_odd, [1, 3, 4], 1, callback=called.put, error_callback=called.put).wait()
    assert isinstance(called.get(timeout=5), KeyError)
    assert called.empty()


def test_a_callback_that_raises_does_not_stop_later_results(pool: Pool) -> None:
    def bad(_: Any) -> None:
        raise RuntimeError("in the callback")

    assert pool.apply_async(fail_on_odd, (2,), callback=bad).get(timeout=30) == 2
    assert pool.apply_async(fail_on_odd, (4,)).get(timeout=30) == 4


def test_a_callback_may_submit_more_work(pool: Pool) -> None:
    finished = threading.Event()
    pool.apply_async(
        fail_on_odd, (2,), callback=lambda _: pool.apply_async(fail_on_odd, (4,), callback=lambda _: finished.set())
    )
    assert finished.wait(30)


@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_imap_keeps_order_and_yields_errors_as_values(pool: Pool, chunksize: int | None) -> None:
    results = list(pool.imap(fail_on_odd, range(8), chunksize=chunksize))
    assert [type(value) for value in results] == [int, KeyError] * 4
    assert results[::2] == [0, 2, 4, 6]


def test_imap_reads_an_iterator_only_as_far_as_it_is_ahead(pool: Pool) -> None:
    read: list[int] = []

    def numbers():
        for number in range(100):
            read.append(number)
            yield number

    results = pool.imap_unordered(fail_on_odd, numbers())
    assert len(read) == 4
    next(results)
    assert len(read) == 5


def test_imap_unordered_overtakes_a_slow_call(pool: Pool) -> None:
    gate = Gate.remote()

    def wait_at_zero(value: int) -> int:
        if value == 0:
            shoal.get(gate.wait.remote())
        return value

    results = pool.imap_unordered(wait_at_zero, range(10))
    first = [results.next(timeout=30) for _ in range(3)]
    assert 0 not in first
    shoal.get(gate.open.remote())
    assert sorted([*first, *results]) == list(range(10))


def test_imap_times_out_and_goes_on(pool: Pool) -> None:
    gate = Gate.remote()

    def wait_at_zero(value: int) -> int:
        if value == 0:
            shoal.get(gate.wait.remote())
        return value

    results = pool.imap(wait_at_zero, range(6))
    with pytest.raises(TimeoutError, match="timeout=0.05"):
        results.next(timeout=0.05)
    shoal.get(gate.open.remote())
    assert [results.next() for _ in range(6)] == list(range(6))
    with pytest.raises(StopIteration):
        results.next()


def test_imap_refuses_what_is_not_iterable(pool: Pool) -> None:
    for imap in (pool.imap, pool.imap_unordered):
        with pytest.raises(TypeError, match="object is not iterable"):
            imap(fail_on_odd, 3)  # type: ignore[arg-type]


def test_the_initializer_runs_in_every_process(pool: Pool, tmp_path: Path) -> None:
    def mark(folder: Path) -> None:
        (folder / str(os.getpid())).touch()

    with Pool(2, initializer=mark, initargs=[tmp_path]) as marked:
        assert len(list(tmp_path.iterdir())) == 2
    marked.join()


def test_processes_are_replaced_after_maxtasksperchild(pool: Pool) -> None:
    with Pool(1, maxtasksperchild=2) as short_lived:
        pids = [short_lived.apply(os.getpid) for _ in range(4)]
    short_lived.join()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_close_lets_open_work_finish(pool: Pool) -> None:
    closing = Pool(2)
    gate = Gate.remote()

    def wait(value: int) -> int:
        shoal.get(gate.wait.remote())
        return value

    result = closing.map_async(wait, [1, 2])
    closing.close()
    for submit in (closing.map, closing.imap):
        with pytest.raises(ValueError, match="Pool not running"):
            submit(fail_on_odd, [])
    assert not result.ready()
    shoal.get(gate.open.remote())
    closing.join()
    assert result.get() == [1, 2]


def test_terminate_fails_open_work(pool: Pool) -> None:
    ending = Pool(2)
    gate = Gate.remote()
    result = ending.map_async(lambda _: shoal.get(gate.wait.remote()), [1, 2])
    ending.terminate()
    ending.join()
    result.wait(30)
    assert not result.successful()
    with pytest.raises(RayError):
        result.get()


def test_join_before_close_is_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="must follow close"):
        pool.join()


def test_bad_arguments_are_refused(pool: Pool) -> None:
    with pytest.raises(ValueError, match="processes must be >= 1, but got processes=0"):
        Pool(0)
    with pytest.raises(ValueError, match="4 CPUs of the cluster, but got processes=100"):
        Pool(100)
    with pytest.raises(ValueError, match="context is not supported"):
        Pool(1, context="spawn")
    with pytest.raises(ValueError, match="maxtasksperchild must be >= 1"):
        Pool(1, maxtasksperchild=0)
    with pytest.raises(ValueError, match="chunksize must be >= 1, but got chunksize=0"):
        pool.map(fail_on_odd, [1], chunksize=0)
