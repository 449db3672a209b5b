"""Placement groups: resources that are reserved together, on one node or spread over several."""

from __future__ import annotations

from shoal.core.placement_group import (
    STRATEGIES as VALID_PLACEMENT_GROUP_STRATEGIES,
)
from shoal.core.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
    validate_placement_group,
)
from shoal.core.placement_group import (
    validate_bundle_label_selector as _validate_bundle_label_selector,
)
from shoal.core.placement_group import (
    validate_bundles as _validate_bundles,
)

__all__ = [
    "VALID_PLACEMENT_GROUP_STRATEGIES",
    "PlacementGroup",
    "_validate_bundle_label_selector",
    "_validate_bundles",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
    "validate_placement_group",
]
