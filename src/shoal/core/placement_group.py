"""Placement groups: bundles of resources reserved together. Public as ``shoal.util.placement_group``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from shoal.core import option_rules, session
from shoal.core.ids import PlacementGroupID
from shoal.core.labels import check_label_selector
from shoal.core.scheduling_strategies import PlacementGroupSchedulingStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
RESERVED_RESOURCE = "bundle"
OBJECT_STORE_MEMORY_NOTE = "Setting 'object_store_memory' for {} is deprecated: objects make room for each other by themselves."


class PlacementGroup:
    """A handle of a placement group. It counts for nothing: a group lives until it is removed, or its job ends."""

    @staticmethod
    def empty() -> PlacementGroup:
        """No group at all."""
        return PlacementGroup(PlacementGroupID.nil())

    def __init__(self, id: PlacementGroupID, bundle_cache: list[dict[str, float]] | None = None) -> None:
        self.id = id
        self.bundle_cache = bundle_cache

    @property
    def is_empty(self) -> bool:
        return self.id.is_nil()

    @property
    def bundle_specs(self) -> list[dict[str, float]]:
        """The resources of each bundle."""
        if self.bundle_cache is None:
            facts = session.current_engine().request("placement_group", id=self.id.binary())
            self.bundle_cache = [dict(bundle) for bundle in facts["bundles"]]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        return len(self.bundle_specs)

    def ready(self) -> Any:
        """A reference that is ready when all bundles are reserved; its value is this group."""
        from shoal.core.remote_function import RemoteFunction  # options know the groups

        global _ready_function
        if _ready_function is None:
            from shoal.core.options import TaskOptions

            _ready_function = RemoteFunction.of(_itself, TaskOptions.from_keywords(num_cpus=0, max_retries=-1))
        strategy = PlacementGroupSchedulingStrategy(self, placement_group_bundle_index=-1)
        return _ready_function.options(scheduling_strategy=strategy, name="placement_group_ready").remote(self)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Waits until all bundles are reserved; False when they are not in time."""
        return bool(
            session.current_engine().request(
                "placement_group_wait", id=self.id.binary(), timeout_s=None if timeout_seconds < 0 else float(timeout_seconds)
            )
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Callable[..., PlacementGroup], tuple[Any, ...]]:
        return type(self), (self.id, self.bundle_cache)


def placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Reserves ``bundles`` of resources, all or none, and returns at once.

    ``strategy`` is PACK (few nodes; what None means), SPREAD (many), STRICT_PACK (one) or STRICT_SPREAD (each its own).
    ``lifetime="detached"`` lets it outlive the job. Raises ValueError for bad bundles, strategies, selectors or a name that is
    taken."""
    strategy = "PACK" if strategy is None else strategy
    checked, selectors = _checked(bundles, strategy, lifetime, bundle_label_selector)
    _refuse(_soft_target_node_id=_soft_target_node_id, topology_strategy=topology_strategy)
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, but got name={name!r}")
    group_id = session.current_engine().request(
        "placement_group_create",
        bundles=checked,
        strategy=strategy,
        name=name,
        lifetime=lifetime,
        bundle_label_selector=selectors,
    )
    return PlacementGroup(PlacementGroupID(bytes(group_id)), checked)


def validate_placement_group(
    bundles: list[dict[str, float]],
    strategy: str | None = None,
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> None:
    """Raises what ``placement_group`` would raise for these arguments, and reserves nothing."""
    _checked(bundles, "PACK" if strategy is None else strategy, lifetime, bundle_label_selector)
    _refuse(_soft_target_node_id=_soft_target_node_id, topology_strategy=topology_strategy)


def validate_bundles(bundles: Any) -> None:
    """Raises ValueError when ``bundles`` can't be those of a placement group."""
    _checked_bundles(bundles)


def validate_bundle_label_selector(selectors: Any) -> None:
    """Raises ValueError when ``selectors`` is no list of label selectors."""
    _checked_selectors(selectors, None)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Gives the bundles back. Tasks and actors in them are killed, those that wait for them fail."""
    _require_group("placement_group", placement_group)
    session.current_engine().request("placement_group_remove", id=placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this namespace. Raises ValueError when there is none."""
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    found = session.current_engine().request("placement_group_named", name=placement_group_name)
    if found is None:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID(bytes(found["id"])), [dict(bundle) for bundle in found["bundles"]])


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Facts about one group, or about all of them by their hex ids."""
    engine = session.current_engine()
    if placement_group is None:
        return dict(engine.request("placement_group_table", id=None))
    _require_group("placement_group", placement_group)
    return dict(engine.request("placement_group_table", id=placement_group.id.binary()))


def get_current_placement_group() -> PlacementGroup | None:
    """The group in which this task or actor runs; None outside of one."""
    group_id = session.current_engine().runtime_context().get("placement_group_id")
    return None if group_id is None else PlacementGroup(PlacementGroupID(group_id))


def check_bundle_index(group: PlacementGroup, index: int) -> None:
    """Raises ValueError when ``index`` names no bundle of ``group`` (-1 names any)."""
    if group.is_empty:
        if index != -1:
            raise ValueError(
                f"If placement group is not set, the value of bundle index must be -1, "
                f"but got placement_group_bundle_index={index}"
            )
    elif not -1 <= index < group.bundle_count:
        raise ValueError(
            f"placement group bundle index {index} is invalid. Valid placement group indexes: 0-{group.bundle_count - 1}, or -1"
        )


def check_fits(group: PlacementGroup, index: int, request: dict[str, float], what: str) -> None:
    """Raises ValueError when no bundle that ``index`` allows can ever hold ``request``."""
    check_bundle_index(group, index)
    bundles = group.bundle_specs if index == -1 else [group.bundle_specs[index]]
    for bundle in bundles:
        if all(
            amount <= bundle.get(name, 0) + 1e-9 for name, amount in request.items() if not name.startswith("accelerator_type:")
        ):
            return
    shown = {name: int(amount) if amount == int(amount) else amount for name, amount in request.items()}
    raise ValueError(
        f"Cannot schedule {what} with the placement group because the resource request {shown} "
        f"cannot fit into any bundles for the placement group, {bundles}."
    )


def _itself(group: PlacementGroup) -> PlacementGroup:
    return group


_ready_function: Any = None


def _refuse(**arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise NotImplementedError(f"placement_group() does not support {name}, but got {name}={value!r}")


def _require_group(name: str, value: object) -> None:
    if not isinstance(value, PlacementGroup):
        raise TypeError(f"{name} must be a PlacementGroup, but got {value!r}")


def _checked(
    bundles: Any, strategy: Any, lifetime: Any, selectors: Any
) -> tuple[list[dict[str, float]], list[dict[str, str]] | None]:
    if strategy not in STRATEGIES:
        raise ValueError(f"Invalid placement group strategy {strategy}. Supported strategies are: {list(STRATEGIES)}.")
    if lifetime not in (None, "detached"):
        raise ValueError(f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}.")
    checked = _checked_bundles(bundles)
    return checked, _checked_selectors(selectors, len(checked))


def _checked_bundles(bundles: Any) -> list[dict[str, float]]:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError("Bundles must be a non-empty list of resource dictionaries, for example [{'CPU': 1.0}, {'GPU': 1.0}].")
    return [_checked_bundle(bundle, bundles) for bundle in bundles]


def _checked_bundle(bundle: Any, bundles: Any) -> dict[str, float]:
    if not isinstance(bundle, dict) or not all(
        isinstance(name, str) and isinstance(amount, (int, float)) for name, amount in bundle.items()
    ):
        raise ValueError(
            "Bundles must be a non-empty list of resource dictionaries, for example [{'CPU': 1.0}, {'GPU': 1.0}], "
            f"but got {bundle!r}"
        )
    if RESERVED_RESOURCE in bundle:
        raise ValueError(f"{RESERVED_RESOURCE!r} is a reserved name and can't be a resource of a bundle, but got {bundle!r}")
    if bundle.get("object_store_memory"):
        warnings.warn(OBJECT_STORE_MEMORY_NOTE.format("bundles"), DeprecationWarning, stacklevel=4)
    checked = {name: option_rules.quantity(name, amount) or 0.0 for name, amount in bundle.items()}
    if not any(checked.values()):
        raise ValueError(f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}")
    return {name: amount for name, amount in checked.items() if amount}


def _checked_selectors(selectors: Any, count: int | None) -> list[dict[str, str]] | None:
    if not selectors:
        return None
    if not isinstance(selectors, list):
        raise ValueError(f"Placement group bundle_label_selector must be a list, got {type(selectors)}.")
    if count is not None and len(selectors) != count:
        raise ValueError(
            f"Invalid bundle label selector {selectors}. "
            f"The length of `bundle_label_selector` should equal the length of `bundles`: {len(selectors)} is not {count}."
        )
    for selector in selectors:
        if not isinstance(selector, dict) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in selector.items()
        ):
            raise ValueError(
                f"Bundle label selector must be a list of string dictionary label selectors, but it has {selector!r}"
            )
        try:
            check_label_selector(selector)
        except ValueError as error:
            raise ValueError(f"Invalid label selector provided in bundle_label_selector list: {error}") from None
    return [dict(selector) for selector in selectors]
