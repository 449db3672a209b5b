"""The deprecated options that place tasks and actors in a placement group."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shoal.core.ids import PlacementGroupID
from shoal.core.options import ActorOptions, TaskOptions
from shoal.core.placement_group import PlacementGroup
from shoal.core.placement_options import with_scheduling_strategy
from shoal.core.scheduling_strategies import PlacementGroupSchedulingStrategy

GROUP = PlacementGroup(PlacementGroupID(b"g" * 18), [{"CPU": 1}, {"CPU": 1}])


@pytest.mark.parametrize("options", [TaskOptions, ActorOptions])
def test_they_mean_a_scheduling_strategy_and_warn_where_they_are_written(options: Any) -> None:
    with pytest.warns(DeprecationWarning, match="placement_group.* parameter is deprecated") as warned:
        given = options.from_keywords(
            placement_group=GROUP, placement_group_bundle_index=1, placement_group_capture_child_tasks=True
        )
    strategy = given.scheduling_strategy
    assert isinstance(strategy, PlacementGroupSchedulingStrategy)
    assert (strategy.placement_group, strategy.placement_group_bundle_index) == (GROUP, 1)
    assert strategy.placement_group_capture_child_tasks is True
    assert len(warned) == 3


def test_none_opts_out_of_the_group_of_the_parent() -> None:
    with pytest.warns(DeprecationWarning, match="placement_group parameter"):
        strategy = TaskOptions().merged(placement_group=None).scheduling_strategy
    assert isinstance(strategy, PlacementGroupSchedulingStrategy) and strategy.placement_group is None


def test_none_beside_a_strategy_changes_nothing() -> None:
    with pytest.warns(DeprecationWarning, match="placement_group parameter"):
        assert with_scheduling_strategy({"placement_group": None, "scheduling_strategy": "SPREAD"}) == {
            "scheduling_strategy": "SPREAD"
        }


def test_their_defaults_mean_nothing(recwarn: pytest.WarningsRecorder) -> None:
    keywords = {"placement_group": "default", "placement_group_bundle_index": -1, "placement_group_capture_child_tasks": None}
    assert TaskOptions.from_keywords(**keywords) == TaskOptions()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        (
            {"placement_group_bundle_index": 0},
            ValueError,
            "the bundle index must be -1, but got placement_group_bundle_index=0",
        ),
        ({"placement_group_capture_child_tasks": True}, ValueError, "needs a placement group"),
        ({"placement_group": GROUP, "scheduling_strategy": "SPREAD"}, ValueError, "via the scheduling_strategy option"),
        ({"placement_group": "mine"}, TypeError, "placement_group must be a PlacementGroup or None, but got"),
        ({"placement_group": GROUP, "placement_group_bundle_index": "0"}, TypeError, "must be an int"),
        ({"placement_group": GROUP, "placement_group_capture_child_tasks": 1}, TypeError, "must be a bool or None"),
    ],
)
def test_bad_ones_say_the_rule(keywords: dict[str, Any], error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=re.escape(reason)):
        TaskOptions.from_keywords(**keywords)
