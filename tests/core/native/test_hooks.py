"""What the kernel has this side say: the table of who holds what."""

from __future__ import annotations

import os

import pytest

import shoal
from shoal.core.native import hooks

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


def test_the_biggest_come_first_and_only_some_are_shown() -> None:
    refs = [shoal.put(bytes(BIG * number)) for number in range(1, 12)]
    sizes = [int(row.split()[0].replace(",", "")) for row in rows()]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) == hooks.HOLDERS_SHOWN
    assert sizes[0] >= BIG * len(refs)
