"""Amounts, pools and devices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.node.resources import Allocation, ResourcePool, to_amounts, to_units


def test_amounts_have_four_decimals() -> None:
    assert to_units({"CPU": 0.0001, "x": 1.5, "zero": 0}) == {"CPU": 1, "x": 15_000}
    assert to_amounts({"CPU": 5_000}) == {"CPU": 0.5}


@pytest.mark.parametrize("amounts", [{"CPU": -1}, {"CPU": float("nan")}, {"GPU": 1.5}])
def test_amounts_that_make_no_sense_are_refused(amounts: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(amounts))):
        to_units(amounts)


def test_parts_of_a_device_are_packed_onto_the_fullest() -> None:
    pool = ResourcePool(to_units({"GPU": 2}))
    first = pool.allocate({"GPU": 2_500})
    second = pool.allocate({"GPU": 5_000})
    whole = pool.allocate({"GPU": 10_000})
    assert first is not None and second is not None and whole is not None
    assert (first.device_ids(), second.device_ids(), whole.device_ids()) == (
        (("GPU", (0,)),),
        (("GPU", (0,)),),
        (("GPU", (1,)),),
    )
    assert pool.allocate({"GPU": 5_000}) is None, "a quarter of device 0 is left, however much that is in total"


def test_lent_cpus_come_back_even_when_taken() -> None:
    pool = ResourcePool(to_units({"CPU": 1}))
    parent = pool.allocate({"CPU": 10_000})
    assert parent is not None
    pool.lend_cpu(parent)
    child = pool.allocate({"CPU": 10_000})
    assert child is not None
    pool.take_back_cpu(parent)
    assert pool.available["CPU"] == -10_000
    pool.validate([parent, child])
    pool.release(child)
    pool.release(parent)
    assert pool.available == pool.total


@given(st.lists(st.tuples(st.sampled_from(["CPU", "GPU", "x"]), st.integers(1, 20_000), st.booleans()), max_size=60))
def test_the_books_always_agree(steps: list[tuple[str, int, bool]]) -> None:
    pool = ResourcePool(to_units({"CPU": 3, "GPU": 2, "x": 1.5}))
    held: list[Allocation] = []
    for name, units, release in steps:
        if release and held:
            pool.release(held.pop(units % len(held)))
        else:
            units = units if name != "GPU" or units <= 10_000 else 10_000 * (units // 10_000)
            allocation = pool.allocate({name: units})
            if allocation is not None:
                held.append(allocation)
        pool.validate(held)
    for allocation in held:
        pool.release(allocation)
    assert pool.available == pool.total
