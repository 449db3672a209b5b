"""Waits for work that needs what the waiting ones hold end in an error that says so; what is only short is warned of."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import shoal
from shoal.exceptions import DeadlockError
from shoal.util.placement_group import placement_group, remove_placement_group
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 15.0


@pytest.fixture(scope="module", autouse=True)
def _node() -> Iterator[None]:
    shoal.init(num_cpus=2, resources={"lathe": 1, "drill": 2}, log_to_driver=False)
    yield
    shoal.shutdown()


@shoal.remote
def make() -> str:
    return "made"


@shoal.remote
def make_with(**resources: float) -> Any:
    """By somebody else, who needs the resources."""
    return shoal.get(make.options(num_cpus=0, resources=resources).remote())


@shoal.remote(num_cpus=0)
def drill_deeper(depth: int) -> str:
    """Each holds a drill until the next one is done."""
    return shoal.get(drill_deeper.options(resources={"drill": 1}).remote(depth - 1)) if depth else "through"


def test_a_task_that_waits_for_work_that_needs_its_own_resource() -> None:
    asked = make_with.options(resources={"lathe": 1}).remote(lathe=1)
    with pytest.raises(DeadlockError, match=r"make_with .* waits for make, which needs lathe: 1, held by make_with"):
        shoal.get(asked, timeout=PATIENCE_S)
    assert shoal.get(make.options(resources={"lathe": 1}).remote(), timeout=PATIENCE_S) == "made"


def test_an_actor_that_waits_for_work_that_needs_its_own_resource() -> None:
    @shoal.remote(resources={"lathe": 1})
    class Shop:
        def make(self) -> Any:
            return shoal.get(make.options(resources={"lathe": 0.5}).remote())

    shop = Shop.remote()
    with pytest.raises(DeadlockError, match=r"lathe: 0.5, held by Shop\.make"):
        shoal.get(shop.make.remote(), timeout=PATIENCE_S)


def test_a_task_in_a_bundle_that_waits_for_work_in_the_same_one() -> None:
    group = placement_group([{"CPU": 1, "lathe": 1}])
    shoal.get(group.ready(), timeout=PATIENCE_S)
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    try:
        with pytest.raises(DeadlockError, match="which needs lathe: 1"):
            shoal.get(
                make_with.options(resources={"lathe": 1}, num_cpus=0, scheduling_strategy=inside).remote(lathe=1),
                timeout=PATIENCE_S,
            )
    finally:
        remove_placement_group(group)


def test_a_task_that_waits_for_a_group_that_needs_its_own_resource() -> None:
    @shoal.remote(resources={"lathe": 1})
    def reserve() -> Any:
        return shoal.get(placement_group([{"lathe": 1}]).ready())

    with pytest.raises(DeadlockError, match=r"placement_group_ready, which needs lathe: 1, held by reserve"):
        shoal.get(reserve.remote(), timeout=PATIENCE_S)


def test_tasks_that_hold_everything_together() -> None:
    """Nothing is held by one alone: a driver that does not wait may end one of them, and when it waits nobody is left."""
    asked = drill_deeper.options(resources={"drill": 1}).remote(2)
    assert shoal.wait([asked], timeout=2.0)[0] == []
    with pytest.raises(DeadlockError, match=r"which needs drill: 1, held by drill_deeper .* and drill_deeper"):
        shoal.get(asked)
    assert shoal.get(make.options(resources={"drill": 2}).remote()) == "made", "one error was enough for the rest to go on"


def test_a_constructor_that_waits_lends_its_cpu() -> None:
    @shoal.remote
    class Eager:
        def __init__(self) -> None:
            self.made = shoal.get(make.options(num_cpus=2).remote())

        def show(self) -> str:
            return str(self.made)

    assert shoal.get(Eager.options(num_cpus=2).remote().show.remote(), timeout=PATIENCE_S) == "made"


def test_what_waits_for_resources_of_actors_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    @shoal.remote(num_cpus=1)
    class Tenant:
        def ping(self) -> None:
            pass

    told = threading.Event()
    lines: list[str] = []

    class Listener:
        def write(self, text: str) -> int:
            if text.startswith("shoal: "):
                lines.append(text)
                told.set()
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stderr", Listener())
    tenants = [Tenant.remote() for _ in range(2)]
    shoal.get([tenant.ping.remote() for tenant in tenants], timeout=PATIENCE_S)
    late = [Tenant.remote() for _ in range(2)]
    assert told.wait(PATIENCE_S)
    [line] = lines
    assert "actor Tenant (and 1 more like it) has been waiting for resources" in line
    assert "CPU: 1 will not be free before one of these ends: actor Tenant (pid " in line
    del tenants
    shoal.get([tenant.ping.remote() for tenant in late], timeout=PATIENCE_S)
