"""Where a task or an actor may run. Public as ``shoal.util.scheduling_strategies``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shoal.core.ids import NodeID
from shoal.core.labels import ANY_VALUE, NO_VALUE, is_label_value

if TYPE_CHECKING:
    from shoal.core.placement_group import PlacementGroup

DEFAULT_STRATEGY = "DEFAULT"
SPREAD_STRATEGY = "SPREAD"
STRATEGY_NAMES = (DEFAULT_STRATEGY, SPREAD_STRATEGY)


class PlacementGroupSchedulingStrategy:
    """Runs inside the bundles of a placement group.

    ``placement_group=None`` opts out of the group that a parent would hand down. Index -1 means any bundle. With
    ``placement_group_capture_child_tasks`` children inherit the group; None means "as the parent does".
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def __repr__(self) -> str:
        return (
            f"PlacementGroupSchedulingStrategy({self.placement_group!r}, "
            f"placement_group_bundle_index={self.placement_group_bundle_index})"
        )


class NodeAffinitySchedulingStrategy:
    """Runs on the node ``node_id`` (hex); with ``soft`` elsewhere if that node is gone or can never run it.

    Raises TypeError for a ``node_id`` of another type, ValueError when it is not a node's id."""

    def __init__(
        self, node_id: str | NodeID, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ) -> None:
        if not isinstance(node_id, (str, NodeID)):
            raise TypeError(f"node_id must be a hex string or a NodeID, but got node_id={node_id!r}")
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            is_usable = not NodeID.from_hex(self.node_id).is_nil()
        except ValueError:
            is_usable = False
        if not is_usable:
            raise ValueError(f"Invalid node_id '{self.node_id}': it must be the hex id of a node, as shoal.nodes() lists them")
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable cannot be set when soft is False")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable cannot be set when soft is True")

    def __repr__(self) -> str:
        return f"NodeAffinitySchedulingStrategy(node_id={self.node_id!r}, soft={self.soft})"


class In:
    """The label's value is one of these."""

    def __init__(self, *values: str) -> None:
        self.values = _checked_values("In", values)


class NotIn:
    """The label's value is none of these, or the node has no such label."""

    def __init__(self, *values: str) -> None:
        self.values = _checked_values("NotIn", values)


class Exists:
    """The node has the label."""


class DoesNotExist:
    """The node lacks the label."""


LabelMatch = In | NotIn | Exists | DoesNotExist


class NodeLabelSchedulingStrategy:
    """Runs on a node whose labels satisfy every entry of ``hard``; among those, ``soft`` ones are preferred."""

    def __init__(self, hard: Mapping[str, LabelMatch], *, soft: Mapping[str, LabelMatch] | None = None) -> None:
        self.hard = _checked_expressions("hard", hard)
        self.soft = _checked_expressions("soft", {} if soft is None else soft)
        if not (self.hard or self.soft):
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")

    def __repr__(self) -> str:
        return f"NodeLabelSchedulingStrategy(hard={sorted(self.hard)}, soft={sorted(self.soft)})"

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with ``labels`` satisfies ``hard``."""
        return all(label_matches(labels, key, match) for key, match in self.hard.items())

    def hard_selector(self) -> dict[str, str]:
        """``hard`` as a label selector."""
        return {key: _as_selector(match) for key, match in self.hard.items()}

    def prefers(self, labels: Mapping[str, str]) -> bool:
        """Whether a node with ``labels`` satisfies ``soft`` too."""
        return all(label_matches(labels, key, match) for key, match in self.soft.items())


SchedulingStrategy = (
    None | str | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy
)


def label_matches(labels: Mapping[str, str], key: str, match: LabelMatch) -> bool:
    """Whether one label expression holds for a node's labels."""
    if isinstance(match, In):
        return labels.get(key) in match.values
    if isinstance(match, NotIn):
        return labels.get(key) not in match.values
    return (key in labels) == isinstance(match, Exists)


def _as_selector(match: LabelMatch) -> str:
    if isinstance(match, (Exists, DoesNotExist)):
        return ANY_VALUE if isinstance(match, Exists) else f"!{ANY_VALUE}"
    values = [value if is_label_value(value) else NO_VALUE for value in match.values]
    return f"{'' if isinstance(match, In) else '!'}in({','.join(values)})"


def _checked_values(operator: str, values: tuple[Any, ...]) -> list[str]:
    if not values:
        raise ValueError(
            f'The variadic parameter of the {operator} operator must be a non-empty tuple: e.g. {operator}("value1", "value2").'
        )
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"Type of value in position {position} for the {operator} operator must be str "
                f'(e.g. {operator}("value1", "value2")) but got {value} of type {type(value)}.'
            )
    return list(values)


def _checked_expressions(parameter: str, expressions: Any) -> dict[str, LabelMatch]:
    if not isinstance(expressions, Mapping):
        raise ValueError(
            f'The {parameter} parameter must be a map (e.g. {{"key1": In("value1")}}) but got type {type(expressions)}.'
        )
    for key, match in expressions.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {parameter} parameter must be of type str but got {key!r} of type {type(key)}."
            )
        if not isinstance(match, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {parameter} parameter must be one of the "
                f"`In`, `NotIn`, `Exists` or `DoesNotExist` operator but got {match!r} of type {type(match)}."
            )
    return dict(expressions)
