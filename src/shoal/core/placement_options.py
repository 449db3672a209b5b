"""The three deprecated options that placed tasks and actors in a placement group before scheduling strategies did."""

from __future__ import annotations

import warnings
from typing import Any

GROUP, INDEX, CAPTURE = "placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks"
DEPRECATED_OPTIONS = (GROUP, INDEX, CAPTURE)
NOT_GIVEN = "default"


def with_scheduling_strategy(keywords: dict[str, Any]) -> dict[str, Any]:
    """``keywords`` with a PlacementGroupSchedulingStrategy in the place of these options, and a DeprecationWarning for each.

    Raises ValueError when there is a strategy besides, or a bundle without its group, TypeError for a wrong type."""
    asked = {name: keywords[name] for name in DEPRECATED_OPTIONS if name in keywords}
    if not asked:
        return keywords
    rest = {name: value for name, value in keywords.items() if name not in asked}
    group, index, capture = asked.get(GROUP, NOT_GIVEN), asked.get(INDEX, -1), asked.get(CAPTURE)
    _check_types(group, index, capture)
    if group == NOT_GIVEN and index == -1 and not capture:
        return rest
    if group in (NOT_GIVEN, None) and index != -1:
        raise ValueError(f"Without a placement group the bundle index must be -1, but got {INDEX}={index}")
    if group == NOT_GIVEN:
        raise ValueError(f"{CAPTURE} needs a placement group, but got {CAPTURE}={capture} without one")
    if group is not None and rest.get("scheduling_strategy") is not None:
        raise ValueError(
            f"Placement groups should be specified via the scheduling_strategy option, but got {GROUP}={group!r} and "
            f"scheduling_strategy={rest['scheduling_strategy']!r}"
        )
    for name in asked:
        warnings.warn(
            f"The {name} parameter is deprecated: use scheduling_strategy=PlacementGroupSchedulingStrategy(...) instead.",
            DeprecationWarning,
            stacklevel=6,
        )
    if rest.get("scheduling_strategy") is None:
        from shoal.core.scheduling_strategies import PlacementGroupSchedulingStrategy

        rest["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, index, capture)
    return rest


def _check_types(group: Any, index: Any, capture: Any) -> None:
    from shoal.core.placement_group import PlacementGroup

    if group is not None and group != NOT_GIVEN and not isinstance(group, PlacementGroup):
        raise TypeError(f"{GROUP} must be a PlacementGroup or None, but got {GROUP}={group!r}")
    if not isinstance(index, int) or isinstance(index, bool):
        raise TypeError(f"{INDEX} must be an int, but got {INDEX}={index!r}")
    if capture is not None and not isinstance(capture, bool):
        raise TypeError(f"{CAPTURE} must be a bool or None, but got {CAPTURE}={capture!r}")
