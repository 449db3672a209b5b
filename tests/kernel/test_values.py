"""Every encoding of a value: what is read is what was put, views are read-only, and keep what they show."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shoal import _kernel

from .arena_child import in_child
from .node import MB, Node

VALUES: list[Any] = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, -(2**200), 0.0, -0.5, float("inf"), 1e308,
    b"", b"x" * 32, b"x" * 33, bytes(range(256)) * 5000, "", "x" * 32, "ä" * 17, "\ud800", "a\0b", "𝄞" * 100_000,
    [], (), {}, [1, "two", None], {"a": (1, {2})}, bytearray(b"abc"), 3 + 4j, range(5),
]  # fmt: skip


@in_child
def test_every_value_comes_back_as_it_was(folder: Path) -> None:
    Node(folder)
    for value in VALUES:
        found = _kernel.get(_kernel.put(value))
        assert found == value and type(found) is type(value)


@in_child
def test_arrays_are_views_that_cannot_be_written(folder: Path) -> None:
    Node(folder)
    for array in (np.arange(100_000.0), np.zeros((3, 0)), np.ones((500, 700), dtype=np.int8), np.arange(7)):
        found = _kernel.get(_kernel.put(array))
        np.testing.assert_array_equal(found, array)
    big = _kernel.get(_kernel.put(np.arange(100_000.0)))
    assert not big.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        big[0] = 1.0


@in_child
def test_many_buffers_of_one_value_come_back(folder: Path) -> None:
    Node(folder)
    value = {n: np.full(n * 500, n) for n in range(20)}
    found = _kernel.get(_kernel.put(value))
    assert all((found[n] == value[n]).all() and len(found[n]) == n * 500 for n in range(20))


@in_child
def test_a_view_keeps_its_value_when_the_reference_is_gone(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    array = _kernel.get(_kernel.put(np.arange(1_000_000)))
    gc.collect()
    others = [_kernel.put(np.zeros(500_000)) for _ in range(6)]
    assert (array == np.arange(1_000_000)).all()
    del array, others
    assert node.records() == before


@in_child
def test_references_inside_values_are_counted_with_them(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    inner = _kernel.put("inside")
    outer = _kernel.put({"deep": [inner]})
    nested = _kernel.put([outer, inner])
    as_tuple = _kernel.put((inner, inner))
    record = inner.record
    del inner, outer
    assert _kernel.record_count(record) > 0
    [outer_again, inner_again] = _kernel.get(nested)
    assert _kernel.get(_kernel.get(outer_again)["deep"][0]) == "inside"
    assert [_kernel.get(ref) for ref in _kernel.get(as_tuple)] == ["inside", "inside"]
    del nested, as_tuple, outer_again, inner_again
    assert node.records() == before


@in_child
def test_counts_are_exact_after_many_puts(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    for n in range(100_000):
        _kernel.put(n)
    refs = [_kernel.put(n) for n in range(10_000)]
    lists = [_kernel.put(refs[n : n + 100]) for n in range(0, 10_000, 100)]
    del refs
    assert sum(_kernel.get(ref) for each in lists for ref in _kernel.get(each)) == sum(range(10_000))
    del lists
    assert node.records() == before
    assert _kernel.memory_stats()["used_bytes"] <= MB


@in_child
def test_a_value_that_cannot_be_pickled_leaves_nothing(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    with pytest.raises(TypeError, match="Could not serialize"):
        _kernel.put({"lock": threading.Lock()})
    assert node.records() == before


@in_child
def test_trimming_gives_memory_back(folder: Path) -> None:
    Node(folder)
    refs = [_kernel.put(b"x" * MB) for _ in range(20)]
    del refs
    assert _kernel.memory_stats()["free_warm_bytes"] >= 20 * MB
    assert _kernel.trim(0.0) >= 20 * MB
    assert _kernel.memory_stats()["free_warm_bytes"] == 0
    assert _kernel.get(_kernel.put(b"again" * MB)) == b"again" * MB
