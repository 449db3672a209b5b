"""What the kernel has this side say: the table of who holds what."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

import shoal
from shoal.core.native import hooks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("cluster")
BIG = 100_000
LIMIT_S = 20.0


@shoal.remote
def big() -> bytes:
    return bytes(BIG)


@shoal.remote(num_returns=2)
def two_big() -> tuple[bytes, bytes]:
    return bytes(BIG), bytes(BIG + 7)


def rows() -> list[str]:
    return hooks._holders().splitlines()[1:]


def test_the_table_says_how_big_whose_and_what_each_object_is() -> None:
    refs = [shoal.put(bytes(BIG)), big.remote(), *two_big.remote()]
    shoal.get(refs, timeout=LIMIT_S)
    me = f"pid {os.getpid()} (this process)"
    found = sorted(row.rpartition("  ")[2] for row in rows() if me in row and row.strip().startswith("100,00"))
    assert found == ["one of several results", "put", "result of big", "result of two_big"]


def test_another_process_that_holds_the_object_is_listed() -> None:
    @shoal.remote
    class Keeper:
        def keep(self, refs: list[shoal.ObjectRef]) -> int:
            self.refs = refs
            return os.getpid()

    keeper = Keeper.remote()
    kept = shoal.put(bytes(BIG + 5))
    pid = shoal.get(keeper.keep.remote([kept]), timeout=LIMIT_S)
    [row] = [row for row in rows() if row.strip().startswith("100,005")]
    assert f"pid {pid}" in row and f"pid {os.getpid()} (this process)" in row


@shoal.remote
def waits(until: object, *values: object) -> int:
    return len(values)


@pytest.fixture
def gate() -> Iterator[shoal.ObjectRef]:
    """What is not ready before the test ends: calls that need it are pending."""

    @shoal.remote
    class Gate:
        async def passed(self) -> None:
            self.opened = asyncio.Event()
            await self.opened.wait()

        async def open(self) -> None:
            self.opened.set()

    actor = Gate.remote()
    passed = actor.passed.remote()
    yield passed
    actor.open.remote()
    shoal.get(passed, timeout=LIMIT_S)


def what_of(size_bytes: int) -> list[str]:
    """Of the objects or arguments of at least that size, and at most a page more."""
    sizes = [(int(row.split()[0].replace(",", "")), row.rpartition("  ")[2]) for row in rows()]
    return [what for size, what in sizes if size_bytes <= size < size_bytes + 4096]


def test_what_pending_calls_have_as_arguments_is_counted(gate: shoal.ObjectRef) -> None:
    call = waits.remote(gate, *[bytes(90_000)] * 7)  # each is too small to become an object
    assert what_of(7 * 90_000) == ["arguments of waits"]
    del call
    assert what_of(7 * 90_000) == ["arguments of waits"]  # it runs all the same


def test_an_object_that_a_pending_call_needs_says_for_which(gate: shoal.ObjectRef) -> None:
    mine = shoal.put(bytes(3 * BIG))
    call = waits.remote(gate, bytes(4 * BIG), mine)
    assert what_of(4 * BIG) == what_of(3 * BIG) == ["put, argument of waits"]
    del call


def test_the_biggest_come_first_and_only_some_are_shown() -> None:
    refs = [shoal.put(bytes(BIG * number)) for number in range(1, 12)]
    sizes = [int(row.split()[0].replace(",", "")) for row in rows()]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == hooks.HOLDERS_SHOWN
    assert sizes[0] >= BIG * len(refs)
