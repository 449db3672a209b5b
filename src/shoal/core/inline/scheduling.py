"""Resources in inline mode: checked and reported, never waited for, since nothing runs side by side. Only placement groups
wait for each other's bundles, as in a cluster: programs wait for groups, and remove them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shoal.core import labels
from shoal.core.native import environments, messages
from shoal.core.native.classes import SchedulingClasses
from shoal.core.native.control import RequestFailed
from shoal.exceptions import GetTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shoal.core.inline.dispatcher import Dispatcher
    from shoal.core.native.classes import ChosenGroup
    from shoal.core.options import TaskOptions
    from shoal.core.runtime_env import RuntimeEnv

ROUNDING = 1e-9


def refused(kind: str, message: str) -> RequestFailed:
    """What a daemon would answer."""
    return RequestFailed(kind, message, {}, b"")


class InlineClasses(SchedulingClasses):
    """The driver's task queues. The dispatcher is told of each."""

    def __init__(self, control: Any, dispatcher: Dispatcher) -> None:
        super().__init__(control, None)
        self._dispatcher = dispatcher

    def task_queue(self, options: TaskOptions, parent_group: bytes | None) -> int:
        queue = super().task_queue(options, parent_group)
        self._dispatcher.serve(queue, self.request(options.resource_request(), options, parent_group))
        return queue

    def environment(self, own: RuntimeEnv | None, group: ChosenGroup | None) -> str:
        """Only the group that is handed down. Raises NotImplementedError for a ``runtime_env``: it needs a process."""
        if own:
            raise NotImplementedError(
                f"inline mode runs everything in one process, which can't have a runtime_env for a part of it, "
                f"but got runtime_env={dict(own)!r}"
            )
        captured = {environments.CAPTURED_GROUP: group.group_id.hex()} if group is not None and group.captures else {}
        return environments.encode(captured)


@dataclass(eq=False)
class _Group:
    request: messages.CreatePlacementGroup
    never: str  # why it can't ever be placed; "" when it can
    state: str = "PENDING"

    def total(self) -> dict[str, float]:
        return add(self.request.bundles)

    def info(self) -> messages.GroupInfo:
        ask = self.request
        bundles = [dict(bundle) for bundle in ask.bundles]
        return messages.GroupInfo(ask.group_id, ask.name, ask.namespace, ask.strategy, self.state, bundles, self.never)


class Scheduling:
    """What this process has, and the placement groups that reserve parts of it."""

    def __init__(self, resources: dict[str, float], node_labels: dict[str, str], node_id: str) -> None:
        self.resources = resources
        self._labels = node_labels
        self._node_id = node_id
        self._changed = threading.Condition()
        self._groups: dict[bytes, _Group] = {}
        self._classes: list[messages.RegisterClass] = []

    # -- classes
    def register(self, request: messages.RegisterClass) -> int:
        """The number of the class. Raises RequestFailed for what can never run here."""
        if request.strategy == "NODE_AFFINITY" and request.node_id != self._node_id and not request.soft:
            raise refused("unschedulable", f"node {request.node_id} does not exist, and the affinity to it is not soft")
        selectors = [request.label_selector, *request.fallback_label_selectors]
        if request.label_selector and not any(labels.matches(selector, self._labels) for selector in selectors):
            raise refused("infeasible", f"this node's labels {self._labels} match none of {selectors}")
        if not labels.matches(request.node_labels, self._labels):
            raise refused("infeasible", f"this node's labels {self._labels} are not what is demanded: {request.node_labels}")
        place, pools = "this node", [self.resources]
        if request.placement_group:
            group = self.group(request.placement_group)
            if group.state == "REMOVED":
                raise refused("removed", f"placement group {request.placement_group.hex()} was removed")
            if group.never:
                raise refused("infeasible", f"its placement group can never be placed: {group.never}")
            bundles = group.request.bundles
            place, pools = "the placement group", bundles if request.bundle_index < 0 else [bundles[request.bundle_index]]
        if not any(fits(request.resources, pool) for pool in pools):
            raise refused("infeasible", f"{place} can never give what was asked for: {request.resources} of {pools}")
        if request not in self._classes:
            self._classes.append(request)
        return self._classes.index(request) + 1

    def class_of(self, number: int) -> messages.RegisterClass:
        return self._classes[number - 1]

    def available(self, held: Iterable[messages.RegisterClass]) -> dict[str, float]:
        """What no group has reserved and nothing in ``held`` uses."""
        reserved = [group.total() for group in self._groups.values() if group.state == "CREATED"]
        used = add([*reserved, *(each.resources for each in held if not each.placement_group)])
        free = {name: amount - used.get(name, 0.0) for name, amount in self.resources.items()}
        return {name: amount for name, amount in free.items() if amount > ROUNDING}

    # -- groups
    def create(self, request: messages.CreatePlacementGroup) -> None:
        """Raises RequestFailed when the name is taken."""
        if request.name and self.named(request.name, request.namespace):
            raise refused("name_taken", f"a placement group named {request.name!r} exists already")
        with self._changed:
            self._groups[request.group_id] = _Group(request, self._why_never(request))
        self._place()

    def remove(self, group_id: bytes) -> bool:
        """Whether the group was there until now."""
        group = self.group(group_id)
        was_there, group.state = group.state != "REMOVED", "REMOVED"
        self._place()
        return was_there

    def group(self, group_id: bytes) -> _Group:
        found = self._groups.get(group_id)
        if found is None:
            raise refused("not_found", f"there is no placement group {group_id.hex()}")
        return found

    def groups(self) -> list[messages.GroupInfo]:
        return [group.info() for group in self._groups.values()]

    def named(self, name: str, namespace: str) -> messages.GroupInfo | None:
        for group in self._groups.values():
            if (group.request.name, group.request.namespace) == (name, namespace) and group.state != "REMOVED":
                return group.info()
        return None

    def wait(self, group_id: bytes, timeout_s: float | None) -> None:
        """Returns when the group is placed. Another thread may have to remove one for that."""
        group = self.group(group_id)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while group.state == "PENDING" and not group.never:
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if left_s is not None and left_s <= 0:
                    raise GetTimeoutError(f"the placement group was not placed within {timeout_s} s")
                self._changed.wait(left_s)
        if group.state == "REMOVED":
            raise refused("removed", f"placement group {group_id.hex()} was removed")
        if group.never:
            raise refused("infeasible", f"placement group {group_id.hex()} can never be placed: {group.never}")

    def is_waiting(self, group_id: bytes) -> bool:
        """Whether what is to run in the group can't run yet."""
        return bool(group_id) and self._groups[group_id].state == "PENDING"

    def _place(self) -> None:
        """In the order in which they came: none overtakes an older one."""
        with self._changed:
            for group in self._groups.values():
                if group.state == "PENDING" and not group.never:
                    if not fits(group.total(), self.available(())):
                        break
                    group.state = "CREATED"
            self._changed.notify_all()

    def _why_never(self, request: messages.CreatePlacementGroup) -> str:
        if request.strategy == "STRICT_SPREAD" and len(request.bundles) > 1:
            return f"STRICT_SPREAD needs one node for each of its {len(request.bundles)} bundles, and inline mode is one node"
        for selector in request.bundle_label_selectors:
            if not labels.matches(selector, self._labels):
                return f"no node matches the bundle's label selector {selector}"
        if not fits(add(request.bundles), self.resources):
            return f"the node can never give what the bundles ask for: {add(request.bundles)} of {self.resources}"
        return ""


def fits(request: dict[str, float], pool: dict[str, float]) -> bool:
    return all(amount <= pool.get(name, 0.0) + ROUNDING for name, amount in request.items())


def add(parts: Iterable[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total
