"""Placement groups: bundles of resources reserved together, and taken from by the tasks and actors that name them.

On one node PACK, SPREAD and STRICT_PACK mean the same; STRICT_SPREAD of more than one bundle can never be met. A group that
can never be placed stays PENDING, and whoever waits for it is told why.

Removing a group kills what runs in it, and its resources are free when the last of those processes is dead: ``settle`` returns
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from shoal.core.native.messages import CreatePlacementGroup, GroupInfo
from shoal.node.leases import Demand
from shoal.node.processes import Holding
from shoal.node.resources import UNITS, Allocation, ResourcePool, to_units
from shoal.node.scheduling_classes import Refused

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


class PlacementGroup(msgspec.Struct, eq=False):
    request: CreatePlacementGroup
    bundles: list[dict[str, int]]
    creator: int  # slot
    root: int
    since_s: float
    infeasible: str = ""
    hopeless_s: float = 0.0  # when it was first seen that something waits in it although it is infeasible
    state: str = "PENDING"
    placed_s: float = 0.0  # from its creation
    reserved: list[Allocation] = msgspec.field(default_factory=list)
    pools: list[ResourcePool] = msgspec.field(default_factory=list)
    waiters: list[tuple[int, int]] = msgspec.field(default_factory=list)  # (client, request id)

    def info(self) -> GroupInfo:
        ask = self.request
        return GroupInfo(
            ask.group_id,
            ask.name,
            ask.namespace,
            ask.strategy,
            self.state,
            [dict(item) for item in ask.bundles],
            self.infeasible,
            self.placed_s,
        )


class PlacementGroups:
    """All groups of the node, removed ones included (their table rows stay)."""

    def __init__(
        self,
        node: ResourcePool,
        labels: Mapping[str, str],
        matches: Callable[[Mapping[str, str], Mapping[str, str]], bool],
    ) -> None:
        self._node = node
        self._labels = labels
        self._matches = matches
        self._groups: dict[bytes, PlacementGroup] = {}

    def __iter__(self) -> object:
        return iter(list(self._groups.values()))

    def all(self) -> list[PlacementGroup]:
        return list(self._groups.values())

    def create(self, request: CreatePlacementGroup, creator: int, root: int, now_s: float) -> PlacementGroup:
        """Raises Refused("invalid") for a request that makes no sense."""
        if request.strategy not in STRATEGIES:
            raise Refused("invalid", f"strategy must be one of {STRATEGIES}, but got strategy={request.strategy!r}")
        if not request.bundles:
            raise Refused("invalid", "a placement group needs at least one bundle, but got bundles=[]")
        if request.group_id in self._groups:
            raise Refused("invalid", f"placement group {request.group_id.hex()} exists already")
        if request.name and self.named(request.name, request.namespace):
            raise Refused(
                "name_taken", f"a placement group named {request.name!r} exists already in namespace {request.namespace!r}"
            )
        try:
            bundles = [to_units(bundle) for bundle in request.bundles]
        except ValueError as error:
            raise Refused("invalid", str(error)) from error
        if not all(bundles):
            raise Refused("invalid", f"every bundle must ask for something, but got bundles={request.bundles}")
        group = PlacementGroup(request, bundles, creator, root, now_s, self._why_never(request, bundles))
        self._groups[request.group_id] = group
        return group

    def get(self, group_id: bytes) -> PlacementGroup | None:
        return self._groups.get(group_id)

    def named(self, name: str, namespace: str) -> PlacementGroup | None:
        for group in self._groups.values():
            if group.request.name == name and group.request.namespace == namespace and group.state != "REMOVED":
                return group
        return None

    def pools(self, group_id: bytes, bundle_index: int) -> list[ResourcePool]:
        """Where a class of the group may take from now; empty while the group is not placed."""
        group = self._groups.get(group_id)
        if group is None or group.state != "CREATED":
            return []
        return group.pools if bundle_index < 0 else [group.pools[bundle_index]]

    def missing(self, group_id: bytes, bundle_index: int, amounts: dict[str, int]) -> dict[str, tuple[int, int]]:
        """What the group can never give, as ``ResourcePool.missing``. Raises Refused for a group or bundle that is not
        there."""
        group = self._groups.get(group_id)
        if group is None:
            raise Refused("not_found", f"there is no placement group {group_id.hex()}")
        if group.state == "REMOVED":
            raise Refused("removed", f"placement group {group_id.hex()} was removed")
        if not -1 <= bundle_index < len(group.bundles):
            raise Refused(
                "invalid", f"placement_group_bundle_index must be -1 or below {len(group.bundles)}, but got {bundle_index}"
            )
        bundles = group.bundles if bundle_index < 0 else [group.bundles[bundle_index]]
        lacking: dict[str, tuple[int, int]] = {}
        for bundle in bundles:
            lacking = {name: (wanted, bundle.get(name, 0)) for name, wanted in amounts.items() if wanted > bundle.get(name, 0)}
            if not lacking:
                return {}
        return lacking

    def demands(self, placed: Callable[[PlacementGroup], None]) -> list[Demand]:
        """The oldest group that waits for room."""
        for group in self._groups.values():
            if group.state == "PENDING" and not group.infeasible:
                total: dict[str, int] = {}
                for bundle in group.bundles:
                    for name, wanted in bundle.items():
                        total[name] = total.get(name, 0) + wanted
                demand = Demand(total, [self._node], group.creator, group.root, since_s=group.since_s)
                demand.bundles, demand.name = (
                    group.bundles,
                    f"placement group {group.request.name or group.request.group_id.hex()}",
                )
                demand.place = lambda group=group: self._place(group, placed)
                return [demand]
        return []

    def hopeless(self) -> list[PlacementGroup]:
        """Groups that are not placed and never will be."""
        return [group for group in self._groups.values() if group.infeasible and group.state == "PENDING"]

    def remove(self, group: PlacementGroup) -> None:
        """The group takes no more work. ``settle`` gives its resources back."""
        group.state = "REMOVED"

    def settle(self, holdings: list[Holding]) -> None:
        """Gives back the bundles of removed groups that no process uses any more."""
        for group in self._groups.values():
            if group.state != "REMOVED" or not group.reserved:
                continue
            if not any(holding.pool in group.pools for holding in holdings):
                for allocation in group.reserved:
                    self._node.release(allocation)
                group.reserved, group.pools = [], []

    def reservations(self) -> list[Allocation]:
        return [allocation for group in self._groups.values() for allocation in group.reserved]

    def _place(self, group: PlacementGroup, placed: Callable[[PlacementGroup], None]) -> bool:
        taken: list[Allocation] = []
        for bundle in group.bundles:
            allocation = self._node.allocate(bundle)
            if allocation is None:
                for other in taken:
                    self._node.release(other)
                return False
            taken.append(allocation)
        group.reserved, group.state = taken, "CREATED"
        group.pools = [_pool_of(allocation) for allocation in taken]
        placed(group)
        return True

    def _why_never(self, request: CreatePlacementGroup, bundles: list[dict[str, int]]) -> str:
        if request.strategy == "STRICT_SPREAD" and len(bundles) > 1:
            return f"STRICT_SPREAD needs one node for each of its {len(bundles)} bundles, and there is one node"
        for selector in request.bundle_label_selectors:
            if not self._matches(selector, self._labels):
                return f"no node matches the bundle's label selector {selector}"
        total: dict[str, int] = {}
        for bundle in bundles:
            for name, wanted in bundle.items():
                total[name] = total.get(name, 0) + wanted
        lacking = self._node.missing(total)
        if not lacking:
            return ""
        parts = ", ".join(f"{name}: {wanted / UNITS:g} of {have / UNITS:g}" for name, (wanted, have) in lacking.items())
        return f"the nodes can never give what the bundles ask for ({parts})"


def _pool_of(allocation: Allocation) -> ResourcePool:
    devices: dict[str, dict[int, int]] = {}
    for name, parts in allocation.devices.items():
        devices[name] = {}
        for index, units in parts:
            devices[name][index] = devices[name].get(index, 0) + units
    return ResourcePool(allocation.amounts, devices)
