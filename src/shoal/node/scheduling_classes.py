"""Scheduling classes: what a task or an actor needs of a node, registered once and named by a number.

A request that this node can never meet is refused when it is registered, with what is missing, so that nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from shoal.core.native.messages import RegisterClass
from shoal.node.events import ErrorFacts
from shoal.node.resources import UNITS, to_units


class Refused(Exception):
    """A request is answered with a Failure."""

    def __init__(self, kind: str, message: str, facts: dict[str, str] | None = None, handle: bytes = b"") -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts or {}
        self.handle = handle


class SchedulingClass(msgspec.Struct, eq=False):
    class_id: int
    amounts: dict[str, int]
    environment: str = ""
    group_id: bytes = b""
    bundle_index: int = -1
    closed: ErrorFacts | None = None  # its placement group was removed, or its environment cannot be set up
    preparing: bool = False  # its environment is being installed


class ClassTable:
    """All classes of a session. ``labels`` are this node's; ``matches(selector, labels)`` decides about label selectors."""

    def __init__(
        self, node_id: str, labels: Mapping[str, str], matches: Callable[[Mapping[str, str], Mapping[str, str]], bool]
    ) -> None:
        self._node_id = node_id
        self._labels = labels
        self._matches = matches
        self._by_id: dict[int, SchedulingClass] = {}
        self._by_content: dict[tuple[object, ...], int] = {}

    def __getitem__(self, class_id: int) -> SchedulingClass:
        return self._by_id[class_id]

    def get(self, class_id: int) -> SchedulingClass | None:
        return self._by_id.get(class_id)

    def all(self) -> list[SchedulingClass]:
        return list(self._by_id.values())

    def of_group(self, group_id: bytes) -> list[SchedulingClass]:
        return [item for item in self._by_id.values() if item.group_id == group_id]

    def environments(self) -> set[str]:
        return {item.environment for item in self._by_id.values() if item.environment}

    def of_environment(self, environment: str) -> list[SchedulingClass]:
        return [item for item in self._by_id.values() if item.environment == environment]

    def register(self, request: RegisterClass, missing: Callable[[dict[str, int]], dict[str, tuple[int, int]]]) -> int:
        """The class's number. ``missing(amounts)`` says what can never be had, per resource: (wanted, total). Raises
        Refused."""
        try:
            amounts = to_units(request.resources)
        except ValueError as error:
            raise Refused("invalid", str(error)) from error
        self._check_node(request)
        lacking = missing(amounts)
        if lacking:
            place = "the placement group" if request.placement_group else "this node"
            parts = ", ".join(f"{name}: {wanted / UNITS:g} of {total / UNITS:g}" for name, (wanted, total) in lacking.items())
            raise Refused(
                "infeasible",
                f"{place} can never give what was asked for ({parts})",
                {name: f"{total / UNITS:g}" for name, (_, total) in lacking.items()},
            )
        content = (tuple(sorted(amounts.items())), request.runtime_env, request.placement_group, request.bundle_index)
        class_id = self._by_content.get(content)
        if class_id is None:
            class_id = len(self._by_id) + 1
            self._by_content[content] = class_id
            self._by_id[class_id] = SchedulingClass(
                class_id, amounts, request.runtime_env, request.placement_group, request.bundle_index
            )
        return class_id

    def _check_node(self, request: RegisterClass) -> None:
        if request.strategy == "NODE_AFFINITY" and request.node_id != self._node_id and not request.soft:
            raise Refused(
                "unschedulable", f"node {request.node_id} does not exist or has died, and the affinity to it is not soft"
            )
        if request.label_selector:
            selectors = [request.label_selector, *request.fallback_label_selectors]
            if not any(self._matches(selector, self._labels) for selector in selectors):
                raise Refused("infeasible", f"no node matches label_selector={request.label_selector}")
        if not self._matches(request.node_labels, self._labels):
            raise Refused("infeasible", f"no node has labels that the strategy demands: {request.node_labels}")
