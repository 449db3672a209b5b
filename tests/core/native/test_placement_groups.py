"""Work in placement groups, on a real session."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from tests.faults.program import until

import shoal
from shoal.core.ids import PlacementGroupID
from shoal.exceptions import ActorDiedError, TaskPlacementGroupRemoved, WorkerCrashedError
from shoal.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
    validate_placement_group,
)
from shoal.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from shoal.util.state import list_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def group() -> Iterator[PlacementGroup]:
    made = placement_group([{"CPU": 2}])
    assert made.wait(10)
    yield made
    remove_placement_group(made)


@shoal.remote
def current() -> str | None:
    found = get_current_placement_group()
    assert shoal.get_runtime_context().get_placement_group_id() == (found.id.hex() if found else None)
    return found.id.hex() if found else None


@shoal.remote
def current_of_child() -> str | None:
    child: str | None = shoal.get(current.remote())
    return child


@shoal.remote
class Member:
    def current(self) -> str | None:
        found = get_current_placement_group()
        return found.id.hex() if found else None

    def current_of_child(self) -> str | None:
        child: str | None = shoal.get(current.remote())
        return child


def inside(group: PlacementGroup, captures: bool | None = None) -> PlacementGroupSchedulingStrategy:
    return PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=captures)


def test_a_driver_is_in_no_group() -> None:
    assert get_current_placement_group() is None
    assert shoal.get(current.remote()) is None


def test_a_task_and_an_actor_know_their_group(group: PlacementGroup) -> None:
    assert shoal.get(current.options(scheduling_strategy=inside(group)).remote()) == group.id.hex()
    member = Member.options(scheduling_strategy=inside(group)).remote()
    assert shoal.get(member.current.remote()) == group.id.hex()


def test_children_are_in_no_group_unless_they_are_captured(group: PlacementGroup) -> None:
    assert shoal.get(current_of_child.options(scheduling_strategy=inside(group)).remote()) is None
    member = Member.options(scheduling_strategy=inside(group)).remote()
    assert shoal.get(member.current_of_child.remote()) is None


def test_captured_children_run_in_the_group_of_their_parent(group: PlacementGroup) -> None:
    captured = inside(group, captures=True)
    assert shoal.get(current_of_child.options(scheduling_strategy=captured).remote()) == group.id.hex()
    member = Member.options(scheduling_strategy=captured).remote()
    assert shoal.get(member.current_of_child.remote()) == group.id.hex()


def test_a_captured_child_can_leave_the_group(group: PlacementGroup) -> None:
    @shoal.remote
    def child_outside() -> str | None:
        outside = PlacementGroupSchedulingStrategy(placement_group=None)
        found: str | None = shoal.get(current.options(scheduling_strategy=outside).remote())
        return found

    assert shoal.get(child_outside.options(scheduling_strategy=inside(group, captures=True)).remote()) is None


def test_what_fits_no_bundle_is_refused_at_once(group: PlacementGroup) -> None:
    with pytest.raises(ValueError, match=r"current .*\{'CPU': 3(\.0)?\} cannot fit into any bundles"):
        current.options(num_cpus=3, scheduling_strategy=inside(group)).remote()
    with pytest.raises(ValueError, match=r"Member .* cannot fit into any bundles"):
        Member.options(resources={"disk": 1}, scheduling_strategy=inside(group)).remote()
    with pytest.raises(ValueError, match="bundle index 1 is invalid"):
        current.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1)).remote()


def test_ready_is_a_reference_to_the_group(group: PlacementGroup) -> None:
    assert shoal.get(group.ready(), timeout=10) == group


def test_work_that_comes_after_the_removal_fails() -> None:
    removed = placement_group([{"CPU": 1}])
    assert removed.wait(10)
    remove_placement_group(removed)
    with pytest.raises(TaskPlacementGroupRemoved):
        shoal.get(current.options(scheduling_strategy=inside(removed)).remote(), timeout=10)


def test_what_runs_in_a_removed_group_has_died() -> None:
    @shoal.remote(max_retries=0)
    def hang() -> None:
        threading.Event().wait()

    removed = placement_group([{"CPU": 2}])
    assert removed.wait(10)
    member = Member.options(num_cpus=1, scheduling_strategy=inside(removed)).remote()
    assert shoal.get(member.current.remote(), timeout=10) == removed.id.hex()
    running = hang.options(scheduling_strategy=inside(removed)).remote()
    until(lambda: [row.state for row in list_tasks(filters=[("task_id", "=", running.task_id().hex())])] == ["RUNNING"])
    remove_placement_group(removed)
    with pytest.raises(ActorDiedError, match="its placement group was removed"):
        shoal.get(member.current.remote(), timeout=10)
    with pytest.raises(WorkerCrashedError, match="its placement group was removed"):
        shoal.get(running, timeout=10)


def test_a_reserved_name_is_no_resource_of_a_bundle() -> None:
    with pytest.raises(ValueError, match="'bundle' is a reserved name"):
        validate_placement_group([{"bundle": 1}])


def test_validation_reserves_nothing() -> None:
    everything = shoal.cluster_resources()["CPU"]
    until(lambda: shoal.available_resources()["CPU"] == everything)  # what the tests before had is given back
    validate_placement_group([{"CPU": 1}], strategy="SPREAD")
    with pytest.raises(ValueError, match="Invalid placement group strategy"):
        validate_placement_group([{"CPU": 1}], strategy="SCATTER")
    assert shoal.available_resources()["CPU"] == everything


def test_removing_what_is_no_more_changes_nothing() -> None:
    group = shoal.util.placement_group([{"CPU": 1}])
    shoal.util.remove_placement_group(group)
    shoal.util.remove_placement_group(group)
    never = PlacementGroup(PlacementGroupID.from_random())
    shoal.util.remove_placement_group(never)


def test_the_table_says_how_placing_went(group: PlacementGroup) -> None:
    stats = placement_group_table(group)["stats"]
    assert (stats["scheduling_state"], stats["scheduling_attempt"]) == ("FINISHED", 1)
    assert stats["end_to_end_creation_latency_ms"] > 0
    everything = shoal.cluster_resources()["CPU"]
    later, never = placement_group([{"CPU": everything}]), placement_group([{"nothing_like_it": 1}])
    waiting = placement_group_table(later)["stats"]
    assert (waiting["scheduling_state"], waiting["end_to_end_creation_latency_ms"]) == ("NO_RESOURCES", 0)
    assert placement_group_table(never)["stats"]["scheduling_state"] == "INFEASIBLE"
    for each in (later, never):
        remove_placement_group(each)
        assert placement_group_table(each)["stats"]["scheduling_state"] == "REMOVED"
