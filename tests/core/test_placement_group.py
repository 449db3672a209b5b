from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
from fake_engine import FakeEngine

import shoal
from shoal.core import placement_group as groups
from shoal.core.placement_group import PlacementGroup, placement_group

GROUP_ID = b"g" * 18


@pytest.fixture
def group(engine: FakeEngine) -> PlacementGroup:
    engine.answers["placement_group_create"] = GROUP_ID
    return placement_group([{"CPU": 1}, {"CPU": 2, "GPU": 0}], strategy="SPREAD", name="g")


def test_a_group_is_asked_for_as_checked(group: PlacementGroup, engine: FakeEngine) -> None:
    asked = dict(engine.requests)["placement_group_create"]
    assert asked == {
        "bundles": [{"CPU": 1.0}, {"CPU": 2.0}],
        "strategy": "SPREAD",
        "name": "g",
        "lifetime": None,
        "bundle_label_selector": None,
    }
    assert group.bundle_specs == asked["bundles"] and group.bundle_count == 2 and not group.is_empty
    assert group.id.binary() == GROUP_ID and group.id.hex() in repr(group)


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"bundles": []}, ValueError, "resource dictionaries"),
        ({"bundles": {"CPU": 1}}, ValueError, "must be a list"),
        ({"bundles": [{}]}, ValueError, "only 0 values"),
        ({"bundles": [{"CPU": 0}]}, ValueError, "only 0 values"),
        ({"bundles": ["CPU"]}, ValueError, "resource dictionaries"),
        ({"bundles": [{"CPU": -1}]}, ValueError, "cannot be negative"),
        ({"strategy": "PACKED"}, ValueError, "Invalid placement group strategy PACKED"),
        ({"strategy": ""}, ValueError, "Invalid placement group strategy ."),
        ({"lifetime": "forever"}, ValueError, "`lifetime` argument must be either"),
        ({"name": 3}, TypeError, "name must be a string"),
        ({"bundle_label_selector": {"a": "b"}}, ValueError, "must be a list"),
        ({"bundle_label_selector": [{"a": "b"}] * 3}, ValueError, "Invalid bundle label selector"),
        ({"bundle_label_selector": [{"a": 1}]}, ValueError, "must be a list of string dictionary"),
        ({"bundle_label_selector": [{"a": "in("}]}, ValueError, "Invalid label selector provided"),
        ({"topology_strategy": {"a": "PACK"}}, NotImplementedError, "topology_strategy"),
        ({"_soft_target_node_id": "ab"}, NotImplementedError, "_soft_target_node_id"),
    ],
)
def test_bad_requests(engine: FakeEngine, keywords: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=re.escape(reason)):
        placement_group(**{"bundles": [{"CPU": 1}], **keywords})
    assert engine.requests[1:] == []


def test_no_strategy_is_pack(engine: FakeEngine) -> None:
    engine.answers["placement_group_create"] = GROUP_ID
    placement_group([{"CPU": 1}], None)
    assert dict(engine.requests)["placement_group_create"]["strategy"] == "PACK"
    groups.validate_placement_group([{"CPU": 1}], None)
    with pytest.raises(NotImplementedError, match="topology_strategy"):
        groups.validate_placement_group([{"CPU": 1}], "PACK", None, None, None, {"a": "PACK"})


def test_waiting(group: PlacementGroup, engine: FakeEngine) -> None:
    engine.answers["placement_group_wait"] = lambda **asked: asked["timeout_s"] is None
    assert group.wait(-1) is True and group.wait(2) is False


def test_ready_is_a_task_in_the_group(group: PlacementGroup) -> None:
    assert shoal.get(group.ready()) == group


def test_a_group_pickles_and_compares_by_id(group: PlacementGroup) -> None:
    copy = pickle.loads(pickle.dumps(group))
    assert copy == group and hash(copy) == hash(group) and copy.bundle_count == 2
    assert PlacementGroup.empty().is_empty and PlacementGroup.empty() != group


def test_bundles_are_asked_for_when_they_are_not_known(engine: FakeEngine) -> None:
    engine.answers["placement_group"] = {"bundles": [{"CPU": 3.0}]}
    assert PlacementGroup(shoal.PlacementGroupID(GROUP_ID)).bundle_specs == [{"CPU": 3.0}]


def test_removing_and_looking_up(group: PlacementGroup, engine: FakeEngine) -> None:
    engine.answers.update(
        placement_group_remove=None,
        placement_group_named=lambda name: {"id": GROUP_ID, "bundles": [{"CPU": 1.0}]} if name == "g" else None,
        placement_group_table=lambda **asked: {"state": "CREATED"} if asked["id"] else {GROUP_ID.hex(): {}},
    )
    groups.remove_placement_group(group)
    assert ("placement_group_remove", {"id": GROUP_ID}) in engine.requests
    assert groups.get_placement_group("g") == group
    with pytest.raises(ValueError, match="Failed to look up placement group with name: h"):
        groups.get_placement_group("h")
    with pytest.raises(ValueError, match="non-empty"):
        groups.get_placement_group("")
    assert groups.placement_group_table(group) == {"state": "CREATED"} and GROUP_ID.hex() in groups.placement_group_table()
    with pytest.raises(TypeError, match="must be a PlacementGroup"):
        groups.remove_placement_group("g")  # type: ignore[arg-type]


def test_the_current_group_is_that_of_the_running_code(engine: FakeEngine) -> None:
    assert groups.get_current_placement_group() is None
    engine.facts["placement_group_id"] = GROUP_ID
    current = groups.get_current_placement_group()
    assert current is not None and current.id.binary() == GROUP_ID


def test_requests_must_fit_a_bundle(group: PlacementGroup) -> None:
    groups.check_fits(group, -1, {"CPU": 2.0}, "f")
    with pytest.raises(ValueError, match="Cannot schedule f with the placement group.* cannot fit into any bundles"):
        groups.check_fits(group, 0, {"CPU": 2.0}, "f")
    with pytest.raises(ValueError, match="cannot fit"):
        groups.check_fits(group, -1, {"GPU": 1.0}, "f")
    for index in (2, -2):
        with pytest.raises(ValueError, match=f"placement group bundle index {index} is invalid"):
            groups.check_fits(group, index, {}, "f")
    with pytest.raises(ValueError, match="bundle index must be -1"):
        groups.check_bundle_index(PlacementGroup.empty(), 0)
