"""Lineage: what was lost is computed again, with all it needs, as often as its task may be retried. Lineage keeps no values."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import numpy
import pytest

import shoal
from shoal import _kernel
from shoal.exceptions import GetTimeoutError, ObjectReconstructionFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUE_BYTES = 100_000
LIMIT_S = 30.0
IN_MEMORY = 1
SPILLED_BYTES = 16 * 1024


class Losses:
    """Loses all values that memory has no room for, and counts executions."""

    def __init__(self, spill_folder: Path, folder: Path) -> None:
        self.spill_folder = spill_folder
        self.folder = folder

    def lose(self, *refs: Any, pinned: int = 0) -> None:
        """Every value but so many that somebody looks at, once these have been made."""
        shoal.wait(list(refs), num_returns=len(refs), timeout=LIMIT_S)
        wait_until(lambda: big_values_in_memory() <= pinned)  # not before their executions have given everything back
        for path in [path for path in self.spill_folder.rglob("*") if path.is_file()]:
            path.unlink()

    def executions(self) -> list[str]:
        """Of which steps, in their order."""
        log = self.folder / "log"
        return log.read_text().split() if log.exists() else []


@pytest.fixture(scope="module")
def spill_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("spilled")
    shoal.init(num_cpus=2, log_to_driver=False, object_store_memory=80 * 2**20, object_spilling_directory=str(folder))
    yield folder
    shoal.shutdown()


@pytest.fixture
def losses(spill_folder: Path, tmp_path: Path) -> Losses:
    return Losses(spill_folder, tmp_path)


def note(folder: Path, step: str) -> None:
    with (folder / "log").open("a") as log:
        log.write(f"{step} ")


@shoal.remote
def numbers(folder: Path, step: str, first: Any, *more: Any) -> Any:
    note(folder, step)
    return numpy.full(VALUE_BYTES, first, numpy.int64) + sum(more)


@shoal.remote
def small(folder: Path, value: int) -> int:
    note(folder, "small")
    return value


def reason_of(ref: shoal.ObjectRef) -> str | None:
    with pytest.raises(ObjectReconstructionFailedError) as caught:
        shoal.get(ref, timeout=LIMIT_S)
    return caught.value.reason


def test_a_lost_result_is_computed_again(losses: Losses) -> None:
    ref = numbers.remote(losses.folder, "a", 3)
    losses.lose(ref)
    assert (shoal.get(ref) == 3).all() and losses.executions() == ["a", "a"]
    assert (shoal.get(ref) == 3).all() and losses.executions() == ["a", "a"]


def test_what_it_needs_and_nobody_holds_any_more_is_computed_first(losses: Losses) -> None:
    a = numbers.remote(losses.folder, "a", 1)
    b = numbers.remote(losses.folder, "b", 10, a)
    c = numbers.remote(losses.folder, "c", 100, b)
    shoal.wait([c], timeout=LIMIT_S)
    del a, b
    losses.lose(c)
    assert (shoal.get(c, timeout=LIMIT_S) == 111).all()
    assert losses.executions() == ["a", "b", "c"] * 2


def test_what_is_still_there_is_used(losses: Losses) -> None:
    a = numbers.remote(losses.folder, "a", 1)
    losses.lose(a)
    view = shoal.get(a)  # computed again, and pinned in memory
    b = numbers.remote(losses.folder, "b", 10, a)
    losses.lose(b, pinned=1)
    assert (shoal.get(b) == 11).all() and view[0] == 1
    assert losses.executions() == ["a", "a", "b", "b"]


def test_two_that_need_the_same_compute_it_once(losses: Losses) -> None:
    a = numbers.remote(losses.folder, "a", 1)
    b, c = numbers.remote(losses.folder, "b", 10, a), numbers.remote(losses.folder, "c", 20, a)
    d = numbers.remote(losses.folder, "d", 100, b, c)
    shoal.wait([d], timeout=LIMIT_S)
    del a, b, c
    losses.lose(d)
    assert (shoal.get(d, timeout=LIMIT_S) == 132).all()
    again = losses.executions()[4:]
    assert sorted(again) == ["a", "b", "c", "d"] and again[0] == "a" and again[-1] == "d"


def test_a_lost_argument_is_computed_again_for_the_task_that_needs_it(losses: Losses) -> None:
    a = numbers.remote(losses.folder, "a", 1)
    losses.lose(a)
    b = numbers.remote(losses.folder, "b", 10, a)
    assert (shoal.get(b, timeout=LIMIT_S) == 11).all() and losses.executions() == ["a", "a", "b"]


def test_all_lost_returns_of_a_task_come_from_one_execution(losses: Losses) -> None:
    @shoal.remote(num_returns=4)
    def several(folder: Path) -> tuple[Any, ...]:
        note(folder, "several")
        return numpy.full(VALUE_BYTES, 0), numpy.full(VALUE_BYTES, 1), 2, numpy.full(VALUE_BYTES, 3)

    refs = several.remote(losses.folder)
    sums = [numbers.remote(losses.folder, "sum", 1, ref) for ref in refs[1:]]
    losses.lose(*refs, *sums)
    assert [int(numpy.max(value)) for value in shoal.get(refs, timeout=LIMIT_S)] == [0, 1, 2, 3]
    assert [int(value[0]) for value in shoal.get(sums, timeout=LIMIT_S)] == [2, 3, 4]
    assert losses.executions().count("several") == 2
    del refs[0], refs[1:]
    losses.lose(*sums, *refs)
    assert [int(value[0]) for value in shoal.get(sums, timeout=LIMIT_S)] == [2, 3, 4]
    assert losses.executions().count("several") <= 4


def test_references_inside_of_arguments_are_followed(losses: Losses) -> None:
    @shoal.remote
    def total(folder: Path, refs: dict[str, list[shoal.ObjectRef]], other: shoal.ObjectRef) -> Any:
        note(folder, "total")
        return sum(shoal.get(refs["all"])) + other

    parts = [numbers.remote(losses.folder, "part", n) for n in range(3)]
    ref = total.remote(losses.folder, {"all": [*parts, small.remote(losses.folder, 7)]}, parts[1])
    shoal.wait([ref], timeout=LIMIT_S)
    del parts
    losses.lose(ref)
    assert (shoal.get(ref, timeout=LIMIT_S) == 0 + 1 + 2 + 7 + 1).all()
    assert losses.executions().count("small") == 1  # small values stay with the lineage


def test_a_lost_value_that_holds_references_is_computed_with_new_ones(losses: Losses) -> None:
    @shoal.remote
    def nested(folder: Path) -> Any:
        note(folder, "nested")
        return [numpy.zeros(VALUE_BYTES), shoal.put("inside")]

    ref = nested.remote(losses.folder)
    inner = shoal.get(ref)[1]
    losses.lose(ref)
    assert shoal.get(shoal.get(ref)[1]) == "inside" == shoal.get(inner)


def test_many_who_read_at_once_share_the_computation(losses: Losses) -> None:
    ref = numbers.remote(losses.folder, "a", 3)
    losses.lose(ref)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(int(shoal.get(ref)[0]))) for _ in range(4)]
    readers = [numbers.remote(losses.folder, "reader", 1, ref) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3] * 4 and [int(value[0]) for value in shoal.get(readers)] == [4] * 4
    assert losses.executions().count("a") == 2


def test_it_is_computed_as_often_as_its_task_may_be_retried(losses: Losses) -> None:
    ref = numbers.options(max_retries=2).remote(losses.folder, "a", 3)
    for _ in range(2):
        losses.lose(ref)
        assert (shoal.get(ref) == 3).all()
    losses.lose(ref)
    assert reason_of(ref) == "MAX_ATTEMPTS_EXCEEDED" and losses.executions() == ["a"] * 3


def test_what_put_made_is_not_computed_again(losses: Losses) -> None:
    value = shoal.put(numpy.ones(VALUE_BYTES))
    ref = numbers.remote(losses.folder, "a", 1, value)
    losses.lose(value, ref)
    assert reason_of(ref) == "PUT"
    ref = numbers.remote(losses.folder, "b", 1, shoal.put(numpy.ones(VALUE_BYTES)))
    losses.lose(ref)
    assert reason_of(ref) == "PUT"


def test_items_of_a_generator_are_not_computed_again(losses: Losses) -> None:
    @shoal.remote
    def items() -> Iterator[Any]:
        yield numpy.zeros(VALUE_BYTES)

    [ref] = list(items.remote())
    losses.lose(ref)
    assert reason_of(ref) == "GENERATOR_ITEM"


@shoal.remote
class Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @shoal.method(max_task_retries=2)
    def make(self, value: int) -> Any:
        note(self.folder, "made")
        return numpy.full(VALUE_BYTES, value)

    def pid(self) -> int:
        return os.getpid()


def test_an_actor_that_may_retry_computes_its_value_again(losses: Losses) -> None:
    maker = Maker.remote(losses.folder)
    ref, once = maker.make.remote(5), maker.make.options(max_task_retries=0).remote(6)
    losses.lose(ref, once)
    assert (shoal.get(ref, timeout=LIMIT_S) == 5).all() and losses.executions() == ["made"] * 3
    assert reason_of(once) == "RETRIES_DISABLED"
    losses.lose(ref)
    del maker
    assert reason_of(ref) == "ACTOR_GONE"


def test_lineage_keeps_neither_big_arguments_nor_actors(losses: Losses) -> None:
    @shoal.remote
    def with_actor(maker: Any) -> Any:
        return numpy.zeros(VALUE_BYTES)

    maker = Maker.remote(losses.folder)
    pid = shoal.get(maker.pid.remote())
    argument = shoal.put(numpy.ones(VALUE_BYTES))
    ref, other = numbers.remote(losses.folder, "a", 1, argument), with_actor.remote(maker)
    shoal.wait([ref, other], num_returns=2, timeout=LIMIT_S)
    used = _kernel.memory_stats()["used_bytes"]
    del argument, maker
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
    wait_until(lambda: _kernel.memory_stats()["used_bytes"] <= used - VALUE_BYTES * 8)


def test_nothing_remains_of_lineage_when_the_values_are_gone(losses: Losses) -> None:
    before = lineage_bytes()
    ref = numbers.remote(losses.folder, "a", 0)
    for n in range(200):
        ref = numbers.remote(losses.folder, "b", n, ref)
    shoal.wait([ref], timeout=LIMIT_S)
    assert _kernel.memory_stats()["lineage_bytes"] > before + 200 * 256
    del ref
    wait_until(lambda: lineage_bytes() <= before)


def test_a_long_chain_is_computed_again(losses: Losses) -> None:
    @shoal.remote
    def grow(values: Any) -> Any:
        return values + 1

    ref = numbers.remote(losses.folder, "a", 0)
    for _ in range(300):
        ref = grow.remote(ref)
    losses.lose(ref)
    assert (shoal.get(ref, timeout=LIMIT_S) == 300).all()


def test_a_worker_that_dies_on_the_way_is_no_matter(losses: Losses) -> None:
    @shoal.remote
    def dies_the_second_time(folder: Path) -> Any:
        note(folder, "tried")
        if (folder / "log").read_text().count("tried") == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return numpy.full(VALUE_BYTES, 4)

    ref = dies_the_second_time.remote(losses.folder)
    losses.lose(ref)
    assert (shoal.get(ref, timeout=LIMIT_S) == 4).all() and losses.executions() == ["tried"] * 3


def test_an_error_of_the_second_time_is_the_outcome(losses: Losses) -> None:
    @shoal.remote
    def fails_the_second_time(folder: Path) -> Any:
        note(folder, "tried")
        if (folder / "log").read_text().count("tried") == 2:
            raise ZeroDivisionError("not again")
        return numpy.full(VALUE_BYTES, 4)

    ref = fails_the_second_time.remote(losses.folder)
    losses.lose(ref)
    for attempt in (lambda: shoal.get(ref), lambda: shoal.get(numbers.remote(losses.folder, "a", 1, ref))):
        with pytest.raises(ZeroDivisionError, match="not again"):
            attempt()


def test_the_time_limit_of_get_holds_while_a_value_is_computed_again(losses: Losses) -> None:
    gate = losses.folder / "gate"
    os.mkfifo(gate)

    @shoal.remote
    def passes_once(folder: Path) -> Any:
        note(folder, "tried")
        if (folder / "log").read_text().count("tried") == 2:
            (folder / "gate").read_text()
        return numpy.full(VALUE_BYTES, 4)

    ref = passes_once.remote(losses.folder)
    losses.lose(ref)
    with pytest.raises(GetTimeoutError):
        shoal.get(ref, timeout=0.2)
    gate.write_text("go on")
    assert (shoal.get(ref, timeout=LIMIT_S) == 4).all()


def big_values_in_memory() -> int:
    _kernel.spill(2**40)
    return sum(row["where"] == IN_MEMORY and row["size_bytes"] >= SPILLED_BYTES for row in _kernel.list_records(10**6))


def lineage_bytes() -> int:
    return int(_kernel.memory_stats()["lineage_bytes"])


def wait_until(condition: Callable[[], bool]) -> None:
    """The condition depends on other processes, which tell nobody."""
    limit = threading.Event()
    for _ in range(int(LIMIT_S / 0.01)):
        if condition():
            return
        limit.wait(0.01)
    raise AssertionError("it did not come to be so")
