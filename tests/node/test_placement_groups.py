"""Placement groups on one node."""

from __future__ import annotations

import pytest

from shoal.core.native import messages as m
from shoal.node import events as e

from .simulated_node import DRIVER, SimulatedNode

GROUP = b"g" * 16


def make(node: SimulatedNode, bundles: list[dict[str, float]], group_id: bytes = GROUP, **fields: object) -> object:
    return node.request(m.CreatePlacementGroup(group_id, bundles, **fields))  # type: ignore[arg-type]


def state(node: SimulatedNode, group_id: bytes = GROUP) -> str:
    group = node.brain.groups.get(group_id)
    assert group is not None
    return group.state


def test_bundles_are_reserved_together() -> None:
    node = SimulatedNode({"CPU": 3.0})
    make(node, [{"CPU": 1}, {"CPU": 1}])
    assert state(node) == "CREATED"
    assert node.brain.pool.available["CPU"] == 10_000
    make(node, [{"CPU": 1}, {"CPU": 1}], b"h" * 16)
    assert state(node, b"h" * 16) == "PENDING"
    assert node.brain.pool.available["CPU"] == 10_000, "nothing is taken for a part of a group"


def test_tasks_of_a_group_run_in_its_bundles_only() -> None:
    node = SimulatedNode({"CPU": 4.0})
    make(node, [{"CPU": 1}, {"CPU": 2}])
    anywhere = node.queue(node.register({"CPU": 1}, placement_group=GROUP))
    node.submit(anywhere, 10)
    assert len(node.running(anywhere)) == 3
    node.finish_all()
    second = node.queue(node.register({"CPU": 2}, placement_group=GROUP, bundle_index=1))
    node.submit(second, 5)
    assert len(node.running(second)) == 1


@pytest.mark.parametrize(
    ("resources", "index", "kind"),
    [({"CPU": 3}, -1, "infeasible"), ({"CPU": 2}, 0, "infeasible"), ({"CPU": 1}, 2, "invalid"), ({"GPU": 1}, -1, "infeasible")],
)
def test_what_no_bundle_can_give_is_refused(resources: dict[str, float], index: int, kind: str) -> None:
    node = SimulatedNode({"CPU": 4.0})
    make(node, [{"CPU": 1}, {"CPU": 2}])
    answer = node.request(m.RegisterClass(resources, placement_group=GROUP, bundle_index=index))
    assert answer.kind == kind


def test_waiting_ends_when_room_is_there() -> None:
    node = SimulatedNode({"CPU": 2.0})
    node.submit(node.queue(), 1)
    make(node, [{"CPU": 2}])
    assert node.request(m.WaitPlacementGroup(GROUP)) is None
    waiting = node.last_request
    node.finish_all()
    assert isinstance(node.replies[waiting], m.Done)
    assert isinstance(node.request(m.WaitPlacementGroup(GROUP)), m.Done)


def test_a_group_is_placed_among_busy_queues() -> None:
    node = SimulatedNode({"CPU": 2.0})
    queue = node.queue()
    node.submit(queue, 1000)
    make(node, [{"CPU": 1}, {"CPU": 1}])
    for step in range(300):
        if state(node) == "CREATED":
            return
        node.now_s += 0.02
        busy = node.running(queue)
        node.finish(busy[step % len(busy)].slot) if busy else node.look()
    raise AssertionError("the group starved")


@pytest.mark.parametrize(
    ("bundles", "strategy", "why"),
    [
        ([{"CPU": 3}], "PACK", "CPU: 3 of 2"),
        ([{"CPU": 1}, {"CPU": 1}, {"CPU": 1}], "SPREAD", "CPU: 3 of 2"),
        ([{"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD", "one node"),
        ([{"rare": 1}], "PACK", "rare"),
    ],
)
def test_a_group_that_can_never_be_placed_says_why(bundles: list[dict[str, float]], strategy: str, why: str) -> None:
    node = SimulatedNode({"CPU": 2.0})
    assert isinstance(make(node, bundles, strategy=strategy), m.Done)
    answer = node.request(m.WaitPlacementGroup(GROUP))
    assert answer.kind == "infeasible"
    assert why in answer.message
    assert state(node) == "PENDING"


def test_what_waits_in_a_group_that_can_never_be_placed_is_told_in_a_few_seconds() -> None:
    node = SimulatedNode({"CPU": 2.0})
    make(node, [{"CPU": 3}])
    assert node.brain.wants_tick_s() is None
    class_id = node.register({"CPU": 1}, placement_group=GROUP)
    (task,) = node.submit(node.queue(class_id))
    actor = node.actor(node.create_actor(creation_class_id=class_id, running_class_id=class_id))
    while task not in node.failed and node.now_s < 5:
        tick_s = node.brain.wants_tick_s()
        assert tick_s is not None
        node.later(tick_s)
    assert 3 <= node.now_s < 4, "a second is left of the five that are promised"
    assert node.failed[task].kind == "infeasible" and "CPU: 3 of 2" in node.failed[task].message
    assert node.ended_actors[actor.request.record].kind == "actor_infeasible"
    assert state(node) == "PENDING" and node.brain.wants_tick_s() is None
    (later,) = node.submit(node.queue(class_id))
    assert node.failed[later].kind == "infeasible"


def test_requests_that_make_no_sense_are_refused() -> None:
    node = SimulatedNode()
    assert make(node, []).kind == "invalid"  # type: ignore[attr-defined]
    assert make(node, [{}]).kind == "invalid"  # type: ignore[attr-defined]
    assert make(node, [{"CPU": -1}]).kind == "invalid"  # type: ignore[attr-defined]
    assert make(node, [{"CPU": 1}], strategy="NEAR").kind == "invalid"  # type: ignore[attr-defined]
    assert node.request(m.WaitPlacementGroup(b"none")).kind == "not_found"


def test_removal_kills_users_and_then_frees_the_bundles() -> None:
    node = SimulatedNode({"CPU": 2.0})
    make(node, [{"CPU": 2}], name="mine")
    class_id = node.register({"CPU": 1}, placement_group=GROUP)
    queue = node.queue(class_id)
    (running,) = node.submit(queue)
    actor = node.create_actor(creation_class_id=class_id, running_class_id=class_id)
    node.started(actor)
    record = node.actor(actor).request.record
    waiting = node.submit(queue, 3)
    later = node.create_actor(creation_class_id=class_id, running_class_id=class_id)
    later_record = node.actor(later).request.record
    assert isinstance(node.request(m.NamedPlacementGroup("mine", "")), m.GroupInfo)
    node.request(m.RemovePlacementGroup(GROUP))
    assert state(node) == "REMOVED"
    assert all(node.failed[each].kind == "task_group_removed" for each in waiting)
    assert node.ended_actors[record].kind == "actor_died", "it ran, and is dead now"
    assert node.ended_actors[later_record].kind == "actor_group_removed"
    assert node.brain.pool.available["CPU"] == 0, "its processes are not dead yet"
    for slot in list(node.killed):
        node.die(slot)
    assert node.failed[running].kind == "worker_crashed", "it is not to be tried again"
    assert node.brain.pool.available["CPU"] == 20_000
    assert node.request(m.NamedPlacementGroup("mine", "")).kind == "not_found"
    assert node.submit(queue)[0] in node.failed, "later tasks of the group fail as well"
    assert node.request(m.RegisterClass({"CPU": 1}, placement_group=GROUP)).kind == "removed"


def test_whoever_waits_for_a_removed_group_is_told() -> None:
    node = SimulatedNode({"CPU": 1.0})
    node.submit(node.queue())
    make(node, [{"CPU": 1}])
    node.request(m.WaitPlacementGroup(GROUP))
    waiting = node.last_request
    node.request(m.RemovePlacementGroup(GROUP))
    assert node.replies[waiting].kind == "removed"


def test_groups_end_with_their_driver_unless_detached() -> None:
    node = SimulatedNode({"CPU": 2.0})
    make(node, [{"CPU": 1}])
    make(node, [{"CPU": 1}], b"d" * 16, detached=True)
    node.tell(e.DriverGone(1, DRIVER))
    assert state(node) == "REMOVED"
    assert state(node, b"d" * 16) == "CREATED"


def test_devices_stay_with_their_bundle() -> None:
    node = SimulatedNode({"CPU": 4.0, "GPU": 2.0})
    make(node, [{"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}])
    seen = []
    for index in (0, 1):
        queue = node.queue(node.register({"GPU": 1}, placement_group=GROUP, bundle_index=index))
        node.submit(queue)
        seen.append(node.running(queue)[0].devices)
    assert seen == [(("GPU", (0,)),), (("GPU", (1,)),)]


def test_the_table_lists_all_groups() -> None:
    node = SimulatedNode()
    make(node, [{"CPU": 1}], name="n", strategy="STRICT_PACK")
    (row,) = node.request(m.PlacementGroupTable()).groups
    assert (row.group_id, row.name, row.strategy, row.state, row.bundles) == (
        GROUP,
        "n",
        "STRICT_PACK",
        "CREATED",
        [{"CPU": 1.0}],
    )
