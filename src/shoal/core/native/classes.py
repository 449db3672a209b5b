"""Scheduling classes and this process's task queues: one queue for each (resources, strategy, environment) it submits under."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core import serialization
from shoal.core.ids import PlacementGroupID
from shoal.core.native import environments, local_files, messages
from shoal.core.native.control import RequestFailed
from shoal.core.placement_group import PlacementGroup, check_fits
from shoal.core.record import Record
from shoal.core.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)
from shoal.exceptions import (
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
)

if TYPE_CHECKING:
    from shoal.core.native.control import ControlClient
    from shoal.core.options import ActorOptions, TaskOptions
    from shoal.core.runtime_env import RuntimeEnv


CapturedGroup = bytes
"""The id of the placement group that work started here inherits."""


class ChosenGroup(Record):
    """Where in which placement group something runs, and whether what it starts runs there too."""

    group: PlacementGroup
    bundle_index: int
    captures: bool

    @property
    def group_id(self) -> bytes:
        return self.group.id.binary()

    def check_fits(self, request: dict[str, float], what: str) -> None:
        """Raises ValueError when no bundle can ever hold ``request``."""
        check_fits(self.group, self.bundle_index, request, what)


class InfeasibleError(Exception):
    """The node can never meet the request. Carries the error that the user is to see."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class SchedulingClasses:
    """Ids of classes, and the queues of this process for them."""

    def __init__(
        self, control: ControlClient, outer_env: dict[str, Any] | None, job_facts: dict[str, Any] | None = None
    ) -> None:
        self._control = control
        self._job_facts = job_facts
        self._outer_env = outer_env
        self._lock = threading.Lock()
        self._ids: dict[bytes, int] = {}
        self._queues: dict[bytes, int] = {}

    def know_default(self, queue: int, class_id: int) -> None:
        """The queue of plain tasks that the daemon made for this driver, with workers that serve it from the start."""
        key = messages.encode_frame(0, messages.RegisterClass({"CPU": 1.0}))
        self._ids[key] = class_id
        self._queues[key] = queue

    def task_queue(self, options: TaskOptions, parent_group: CapturedGroup | None) -> int:
        """The queue for tasks under ``options``. Tasks that can never run here get a queue that fails them at once."""
        request = self.request(options.resource_request(), options, parent_group)
        key = messages.encode_frame(0, request)
        with self._lock:
            known = self._queues.get(key)
            if known is not None:
                return known
            queue = _kernel.create_queue(_kernel.my_slot(), 0, False)
            try:
                class_id = self._class_id(key, request, is_actor=False)
            except InfeasibleError as failure:
                # Not remembered: a group may come, a node may join.
                _kernel.close_queue(queue, serialization.dumps_error(failure.error))
                return queue
            _kernel.rename_queue_class(queue, class_id)
            self._queues[key] = queue
            return queue

    def actor_class(self, resources: dict[str, float], options: ActorOptions, parent_group: CapturedGroup | None) -> int:
        """The class an actor is placed or runs under. Raises InfeasibleError."""
        request = self.request(resources, options, parent_group)
        key = messages.encode_frame(0, request)
        with self._lock:
            return self._class_id(key, request, is_actor=True)

    def request(
        self, resources: dict[str, float], options: TaskOptions | ActorOptions, parent_group: CapturedGroup | None
    ) -> messages.RegisterClass:
        """The message that describes what ``options`` ask for."""
        group = chosen_group(options.scheduling_strategy, parent_group)
        return messages.RegisterClass(
            resources=resources,
            label_selector=dict(options.label_selector or {}),
            fallback_label_selectors=[dict(each) for each in options.fallback_strategy or ()],
            runtime_env=self.environment(options.runtime_env, group),
            **_placement(options.scheduling_strategy, group),
        )

    def environment(self, own: RuntimeEnv | None, group: ChosenGroup | None) -> str:
        """The surrounding environment with the task's own laid over it, as JSON with sorted keys; "" for none.

        Submitters are kept per process, so whoever hands its placement group down to what it starts is a process of its own
        kind: the group is then part of the environment."""
        merged = merge_environments(dict(self._outer_env or {}), dict(own or {}))
        if any(merged.get(installer) for installer in local_files.INSTALLERS):
            merged = local_files.absolute(merged)
            digests = local_files.digests(merged)
            if digests:
                merged[environments.LOCAL_FILES] = digests
        if self._job_facts:
            merged[environments.JOB] = self._job_facts
        if group is not None and group.captures:
            merged[environments.CAPTURED_GROUP] = group.group_id.hex()
        return environments.encode(merged)

    def _class_id(self, key: bytes, request: messages.RegisterClass, *, is_actor: bool) -> int:
        known = self._ids.get(key)
        if known is not None:
            return known
        try:
            answer = self._control.request(request)
        except RequestFailed as failure:
            raise _refused(failure, is_actor=is_actor) from failure
        assert isinstance(answer, messages.ClassId)
        self._ids[key] = answer.class_id
        return answer.class_id


def merge_environments(outer: dict[str, Any], inner: dict[str, Any]) -> dict[str, Any]:
    """``env_vars`` merge, every other field of ``inner`` replaces that of ``outer``."""
    merged = {**outer, **inner}
    if outer.get("env_vars") and inner.get("env_vars"):
        merged["env_vars"] = {**outer["env_vars"], **inner["env_vars"]}
    return {name: value for name, value in merged.items() if value not in (None, {}, [])}


def chosen_group(strategy: Any, parent: CapturedGroup | None) -> ChosenGroup | None:
    """The group that work under ``strategy`` runs in, started by code that hands down ``parent``."""
    if strategy is None:
        return None if parent is None else ChosenGroup(PlacementGroup(PlacementGroupID(parent)), -1, captures=True)
    if not isinstance(strategy, PlacementGroupSchedulingStrategy):
        return None
    group = strategy.placement_group
    if group is None or group.is_empty:
        return None
    captures = strategy.placement_group_capture_child_tasks
    return ChosenGroup(group, strategy.placement_group_bundle_index, parent is not None if captures is None else captures)


def _placement(strategy: Any, group: ChosenGroup | None) -> dict[str, Any]:
    if group is not None:
        return {"placement_group": group.group_id, "bundle_index": group.bundle_index}
    if isinstance(strategy, NodeAffinitySchedulingStrategy):
        return {"strategy": "NODE_AFFINITY", "node_id": strategy.node_id, "soft": strategy.soft}
    if isinstance(strategy, NodeLabelSchedulingStrategy):
        return {"node_labels": strategy.hard_selector()}  # what it would prefer makes no difference on one node
    return {"strategy": strategy} if strategy == "SPREAD" else {}


def _refused(failure: RequestFailed, *, is_actor: bool) -> InfeasibleError:
    if failure.kind == "removed":
        return InfeasibleError((ActorPlacementGroupRemoved if is_actor else TaskPlacementGroupRemoved)(str(failure)))
    return InfeasibleError((ActorUnschedulableError if is_actor else TaskUnschedulableError)(str(failure)))
