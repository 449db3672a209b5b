"""More data than the arena holds: files take what does not fit, and every value stays right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shoal import _kernel
from shoal.exceptions import ObjectStoreFullError

from .arena_child import in_child
from .node import MB, Node


@in_child
def test_values_beyond_the_arena_are_right(folder: Path) -> None:
    node = Node(folder, 64 * MB)
    before = node.records()
    refs = [_kernel.put(np.full(MB // 2, n)) for n in range(48)]  # 4 MB each
    assert _kernel.memory_stats()["spilled_objects"] > 0
    assert len(list((folder / "spilled").iterdir())) == _kernel.memory_stats()["spilled_objects"]
    for n, ref in enumerate(refs):
        array = _kernel.get(ref)
        assert array[0] == array[-1] == n and not array.flags.writeable
    del refs, ref, array
    assert node.records() == before
    assert list((folder / "spilled").iterdir()) == []


@in_child
def test_an_object_larger_than_the_arena_goes_to_a_file(folder: Path) -> None:
    Node(folder, 16 * MB)
    value = np.arange(4 * MB)  # 32 MB
    ref = _kernel.put(value)
    assert (_kernel.get(ref) == value).all()
    assert _kernel.memory_stats()["fallback_objects"] == 1
    text = _kernel.put(b"x" * (20 * MB))
    assert _kernel.get(text) == b"x" * (20 * MB)


@in_child
def test_what_is_read_stays_in_memory(folder: Path) -> None:
    Node(folder, 32 * MB)
    ref = _kernel.put(np.arange(MB))
    view = _kernel.get(ref)
    others = [_kernel.put(np.zeros(MB)) for _ in range(6)]
    assert (view == np.arange(MB)).all()
    assert _kernel.record_where(ref.record) == 1  # in memory: it is pinned
    assert all(not _kernel.get(other).any() for other in others)


@in_child
def test_references_survive_the_spilling_of_what_holds_them(folder: Path) -> None:
    node = Node(folder, 32 * MB)
    before = node.records()
    inner = _kernel.put("inside")
    outer = _kernel.put([inner, b"x" * MB])
    del inner
    _kernel.spill(64 * MB)
    assert _kernel.record_where(outer.record) == 2  # a file
    assert _kernel.get(_kernel.get(outer)[0]) == "inside"
    del outer
    assert node.records() == before


@in_child
def test_no_place_to_spill_is_an_error_with_a_table(folder: Path) -> None:
    (folder / "file").write_text("not a folder")
    Node(folder, 16 * MB, spill_folder="file")
    kept = [_kernel.put(b"x" * (4 * MB)) for _ in range(3)]
    with pytest.raises(ObjectStoreFullError, match="biggest objects"):
        _kernel.put(b"y" * (8 * MB))
    assert all(_kernel.get(ref) == b"x" * (4 * MB) for ref in kept)
    kept.pop()
    assert _kernel.get(_kernel.put(b"z" * (4 * MB))) == b"z" * (4 * MB)
