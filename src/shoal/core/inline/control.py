"""What a node daemon would answer, for inline mode."""

from __future__ import annotations

import collections
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from shoal.core.inline.actors import InlineActor
from shoal.core.inline.scheduling import refused
from shoal.core.native import messages, record_rows
from shoal.core.native.key_value import KeyValueStore
from shoal.core.native.node import LOOPBACK
from shoal.core.native.reconstruction import LOST, reconstruct

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.core.inline.dispatcher import Dispatcher
    from shoal.core.inline.node import InlineNode


class InlineControl:
    """Has the methods of a ControlClient that an engine uses."""

    def __init__(self, dispatcher: Dispatcher, node: InlineNode) -> None:
        self._dispatcher = dispatcher
        self._node = node
        self._store = KeyValueStore()
        self._began_ms = int(time.time() * 1000)

    def request(self, message: Any, timeout_s: float | None = None) -> Any:
        """The answer. Raises RequestFailed as a client does, NotImplementedError for what inline mode can't do."""
        if isinstance(message, messages.WaitPlacementGroup):
            self._dispatcher.scheduling.wait(message.group_id, timeout_s)
            return messages.Done()
        handler = _HANDLERS.get(type(message))
        if handler is None:
            raise NotImplementedError(f"inline mode can't carry out {type(message).__name__}")
        return handler(self, message) or messages.Done()

    def send(self, message: Any) -> None:
        self.request(message)

    def close(self) -> None:
        self._dispatcher.shutdown()

    # -- classes and resources
    def _register_class(self, message: Any) -> Any:
        return messages.ClassId(self._dispatcher.scheduling.register(message))

    def _cluster_resources(self, message: Any) -> Any:
        return messages.Amounts(dict(self._dispatcher.scheduling.resources))

    def _available_resources(self, message: Any) -> Any:
        held = [actor.class_held for actor in self._dispatcher.actors() if actor.class_held is not None]
        return messages.Amounts(self._dispatcher.scheduling.available([*self._dispatcher.running, *held]))

    def _nodes(self, message: Any) -> Any:
        row: dict[str, messages.Cell] = {
            "node_id": self._node.node_id.hex(),
            "alive": True,
            "resources": dict(self._dispatcher.scheduling.resources),
            "labels": dict(self._node.labels),
        }
        return messages.Rows([row], 1)

    # -- actors
    def _create_actor(self, message: Any) -> None:
        self._dispatcher.add_actor(InlineActor(self._dispatcher, message))

    def _kill_actor(self, message: Any) -> None:
        for actor in self._dispatcher.actors():
            if actor.request.actor_id == message.actor_id:
                actor.kill(message.no_restart)
                return
        raise refused("not_found", f"there is no actor {message.actor_id.hex()}")

    def _named_actor(self, message: Any) -> Any:
        self._dispatcher.run_ready()  # its last handle may be gone
        actor = self._dispatcher.named_actor(message.name, message.namespace)
        if actor is None:
            raise refused("not_found", f"there is no live actor named {message.name!r} in namespace {message.namespace!r}")
        return actor.info()

    def _list_named_actors(self, message: Any) -> Any:
        self._dispatcher.run_ready()
        return messages.ActorNames(self._dispatcher.names(message.namespace))

    def _interrupt(self, message: Any) -> None:
        for actor in self._dispatcher.actors():
            actor.cancel_flagged()

    def _kill_running(self, message: Any) -> None:
        raise NotImplementedError("cancel(force=True) kills the worker of a running task: inline mode has none to kill")

    def _reconstruct(self, message: Any) -> None:
        why_not = reconstruct(message.record, message.uid)
        if why_not:
            raise refused(LOST, why_not)
        self._dispatcher.run_ready()

    # -- placement groups
    def _create_group(self, message: Any) -> None:
        self._dispatcher.scheduling.create(message)

    def _remove_group(self, message: Any) -> None:
        self._dispatcher.remove_group(message.group_id)

    def _group_table(self, message: Any) -> Any:
        scheduling = self._dispatcher.scheduling
        return messages.Groups(scheduling.groups() if message.group_id is None else [scheduling.group(message.group_id).info()])

    def _named_group(self, message: Any) -> Any:
        found = self._dispatcher.scheduling.named(message.name, message.namespace)
        if found is None:
            raise refused("not_found", f"there is no placement group named {message.name!r}")
        return found

    # -- key-value
    def _kv_put(self, message: Any) -> Any:
        return messages.Flag(self._store.put(message.namespace, message.key, message.value, message.overwrite))

    def _kv_get(self, message: Any) -> Any:
        return messages.Value(self._store.get(message.namespace, message.key))

    def _kv_delete(self, message: Any) -> Any:
        return messages.Count(self._store.delete(message.namespace, message.key, message.by_prefix))

    def _kv_list(self, message: Any) -> Any:
        return messages.Keys(self._store.list(message.namespace, message.prefix))

    def _kv_exists(self, message: Any) -> Any:
        return messages.Flag(self._store.exists(message.namespace, message.key))

    # -- lists
    def _list_state(self, message: Any) -> Any:
        self._dispatcher.run_ready()
        if message.kind not in messages.STATE_KINDS:
            raise refused(
                "invalid", f"kind must be one of {messages.STATE_KINDS} in inline mode, but got kind={message.kind!r}"
            )
        rows: list[dict[str, messages.Cell]] = getattr(self, f"_{message.kind}_rows")()
        return messages.Rows(rows[: message.limit], len(rows))

    def _still_waiting(self, message: messages.StillWaiting) -> None:
        """Nothing is known of what the threads of one process wait for, so a wait is never given up."""

    def _tasks_rows(self) -> list[dict[str, messages.Cell]]:
        runner = record_rows.Runner(self._node.worker_id.hex(), os.getpid())
        actors = {actor.info().actor_id: runner for actor in self._dispatcher.actors()}
        return record_rows.tasks(self._node.node_id.hex(), collections.defaultdict(lambda: runner), actors, {})

    def _objects_rows(self) -> list[dict[str, messages.Cell]]:
        return record_rows.objects({os.getpid()})

    def _actors_rows(self) -> list[dict[str, messages.Cell]]:
        return [self._actor_row(actor.info()) for actor in [*self._dispatcher.actors(), *self._dispatcher.dead]]

    def _actor_row(self, info: messages.ActorInfo) -> dict[str, messages.Cell]:
        return {
            "actor_id": info.actor_id.hex(),
            "class_name": info.class_name,
            "state": info.state,
            "name": info.name,
            "ray_namespace": info.namespace,
            "pid": info.pid,
            "num_restarts": info.restarts,
            "is_detached": info.detached,
            "death_cause": info.death_cause,
            "node_id": self._node.node_id.hex(),
        }

    def _workers_rows(self) -> list[dict[str, messages.Cell]]:
        return [{"worker_id": self._node.worker_id.hex(), "pid": os.getpid(), "is_alive": True, "worker_type": "DRIVER"}]

    def _jobs_rows(self) -> list[dict[str, messages.Cell]]:
        namespace = self._dispatcher.engine.namespace
        return [record_rows.job(1, os.getpid(), shlex.join(sys.orig_argv), namespace, self._began_ms, 0, LOOPBACK)]

    def _runtime_envs_rows(self) -> list[dict[str, messages.Cell]]:
        return []  # no process is set up

    def _cluster_events_rows(self) -> list[dict[str, messages.Cell]]:
        return []  # nothing happens outside of the driver

    def _nodes_rows(self) -> list[dict[str, messages.Cell]]:
        return [
            {
                "node_id": self._node.node_id.hex(),
                "state": "ALIVE",
                "is_head_node": True,
                "resources_total": dict(self._dispatcher.scheduling.resources),
                "labels": dict(self._node.labels),
            }
        ]

    def _placement_groups_rows(self) -> list[dict[str, messages.Cell]]:
        return [
            {
                "placement_group_id": group.group_id.hex(),
                "name": group.name,
                "state": group.state,
                "strategy": group.strategy,
                "bundle_count": len(group.bundles),
            }
            for group in self._dispatcher.scheduling.groups()
        ]


_HANDLERS: dict[type, Callable[[InlineControl, Any], Any]] = {
    messages.RegisterClass: InlineControl._register_class,
    messages.ClusterResources: InlineControl._cluster_resources,
    messages.AvailableResources: InlineControl._available_resources,
    messages.Nodes: InlineControl._nodes,
    messages.CreateActor: InlineControl._create_actor,
    messages.KillActor: InlineControl._kill_actor,
    messages.NamedActor: InlineControl._named_actor,
    messages.ListNamedActors: InlineControl._list_named_actors,
    messages.InterruptTask: InlineControl._interrupt,
    messages.KillWorkerRunning: InlineControl._kill_running,
    messages.Reconstruct: InlineControl._reconstruct,
    messages.CreatePlacementGroup: InlineControl._create_group,
    messages.RemovePlacementGroup: InlineControl._remove_group,
    messages.PlacementGroupTable: InlineControl._group_table,
    messages.NamedPlacementGroup: InlineControl._named_group,
    messages.KeyValuePut: InlineControl._kv_put,
    messages.KeyValueGet: InlineControl._kv_get,
    messages.KeyValueDelete: InlineControl._kv_delete,
    messages.KeyValueList: InlineControl._kv_list,
    messages.KeyValueExists: InlineControl._kv_exists,
    messages.ListState: InlineControl._list_state,
    messages.StillWaiting: InlineControl._still_waiting,
}
