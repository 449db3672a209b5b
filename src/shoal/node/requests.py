"""Answers to what drivers and workers ask of the brain. What only the shell can know (lists of records, the log) it answers
itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shoal.core.native import messages as m
from shoal.node.actors import Actor, name_taken
from shoal.node.events import Instruction, Reply, RequestMade
from shoal.node.placement_groups import PlacementGroup
from shoal.node.resources import UNITS, to_amounts
from shoal.node.scheduling_classes import Refused

if TYPE_CHECKING:
    from shoal.node.brain import Brain

Emit = Callable[[Instruction], None]


class Requests:
    def __init__(self, brain: Brain) -> None:
        self._brain = brain

    def answer(self, event: RequestMade, emit: Emit) -> None:
        """Emits the reply, unless the request waits for something or expects none (id 0)."""
        handler = _HANDLERS.get(type(event.message))
        if handler is None:
            answer: m.Answer | None = m.Failure("invalid", f"the daemon does not answer {type(event.message).__name__} here")
        else:
            try:
                answer = handler(self, event)
            except Refused as refused:
                answer = name_taken(refused)
                if isinstance(event.message, m.CreateActor) and not event.request_id:
                    self._brain.actors.not_made(event.message, str(refused))
        if answer is not None and event.request_id:
            emit(Reply(event.client, event.request_id, answer))

    def group_settled(self, group: PlacementGroup, emit: Emit) -> None:
        """Answers everybody who waits for the group."""
        waiters, group.waiters = group.waiters, []
        for client, request_id in waiters:
            emit(Reply(client, request_id, self._group_outcome(group) or m.Done()))

    # ------------------------------------------------------------ scheduling classes and resources

    def _register_class(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.RegisterClass)
        brain = self._brain

        def missing(amounts: dict[str, int]) -> dict[str, tuple[int, int]]:
            if message.placement_group:
                return brain.groups.missing(message.placement_group, message.bundle_index, amounts)
            return brain.pool.missing(amounts)

        class_id = brain.classes.register(message, missing)
        brain.environments.wanted(brain.classes[class_id], brain.processes.root_of(event.slot))
        return m.ClassId(class_id)

    def _cluster_resources(self, event: RequestMade) -> m.Answer:
        return m.Amounts(dict(self._brain.resources))

    def _available_resources(self, event: RequestMade) -> m.Answer:
        """Leases of workers that have nothing to do count as free."""
        brain = self._brain
        available = dict(brain.pool.available.items())
        for process in brain.processes.workers():
            if process.holding is not None and process.holding.pool is brain.pool and not process.running:
                for name, units in process.holding.allocation.amounts.items():
                    available[name] = available.get(name, 0) + units
        return m.Amounts({name: units / UNITS for name, units in available.items() if units > 0})

    def _nodes(self, event: RequestMade) -> m.Answer:
        brain = self._brain
        row: dict[str, m.Cell] = {
            "node_id": brain.node_id,
            "alive": True,
            "resources": dict(brain.resources),
            "labels": dict(brain.labels),
        }
        return m.Rows([row], 1)

    # ------------------------------------------------------------ actors

    def _create_actor(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.CreateActor)
        brain = self._brain
        brain.actors.create(message, brain.processes.root_of(message.owner_slot), brain.now_s)
        return m.Done()

    def _living(self, actor_id: bytes) -> Actor:
        actor = self._brain.actors.get(actor_id)
        if actor is None:
            raise Refused("not_found", f"there is no actor {actor_id.hex()}")
        return actor

    def _kill_actor(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.KillActor)
        self._brain.actors.kill(self._living(message.actor_id), message.no_restart)
        return m.Done()

    def _actor_no_longer_needed(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.ActorNoLongerNeeded)
        self._brain.actors.unreferenced(self._living(message.actor_id).request.record)
        return m.Done()

    def _named_actor(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.NamedActor)
        actor = self._brain.actors.named(message.name, message.namespace)
        if actor is None:
            raise Refused("not_found", f"there is no live actor named {message.name!r} in namespace {message.namespace!r}")
        return actor.info()

    def _list_named_actors(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.ListNamedActors)
        return m.ActorNames(self._brain.actors.names(message.namespace))

    def _actor_info(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.GetActorInfo)
        return self._living(message.actor_id).info()

    def _worker_info(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.GetWorkerInfo)
        process = self._brain.processes.at(message.slot)
        if process is None:
            raise Refused("not_found", f"there is no worker with slot {message.slot}")
        resources = to_amounts(process.holding.allocation.amounts) if process.holding else {}
        return m.WorkerInfo(process.slot, process.pid, resources, {name: list(ids) for name, ids in process.devices})

    # ------------------------------------------------------------ placement groups

    def _group(self, group_id: bytes) -> PlacementGroup:
        group = self._brain.groups.get(group_id)
        if group is None:
            raise Refused("not_found", f"there is no placement group {group_id.hex()}")
        return group

    def _create_group(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.CreatePlacementGroup)
        brain = self._brain
        brain.groups.create(message, event.slot, brain.processes.root_of(event.slot), brain.now_s)
        return m.Done()

    def _remove_group(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.RemovePlacementGroup)
        self._brain.remove_group(self._group(message.group_id))
        return m.Done()

    def _group_table(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.PlacementGroupTable)
        if message.group_id is not None:
            return m.Groups([self._group(message.group_id).info()])
        return m.Groups([group.info() for group in self._brain.groups.all()])

    def _named_group(self, event: RequestMade) -> m.Answer:
        message = event.message
        assert isinstance(message, m.NamedPlacementGroup)
        group = self._brain.groups.named(message.name, message.namespace)
        if group is None:
            raise Refused("not_found", f"there is no placement group named {message.name!r} in namespace {message.namespace!r}")
        return group.info()

    def _wait_group(self, event: RequestMade) -> m.Answer | None:
        message = event.message
        assert isinstance(message, m.WaitPlacementGroup)
        group = self._group(message.group_id)
        outcome = self._group_outcome(group)
        if outcome is None:
            group.waiters.append((event.client, event.request_id))
        return outcome

    def _group_outcome(self, group: PlacementGroup) -> m.Answer | None:
        hex_id = group.request.group_id.hex()
        if group.state == "CREATED":
            return m.Done()
        if group.state == "REMOVED":
            return m.Failure("removed", f"placement group {hex_id} was removed")
        if group.infeasible:
            return m.Failure("infeasible", f"placement group {hex_id} can never be placed: {group.infeasible}")
        return None

    # ------------------------------------------------------------ key-value

    def _kv_put(self, event: RequestMade) -> m.Answer:
        message: Any = event.message
        return m.Flag(self._brain.store.put(message.namespace, message.key, message.value, message.overwrite))

    def _kv_get(self, event: RequestMade) -> m.Answer:
        message: Any = event.message
        return m.Value(self._brain.store.get(message.namespace, message.key))

    def _kv_delete(self, event: RequestMade) -> m.Answer:
        message: Any = event.message
        return m.Count(self._brain.store.delete(message.namespace, message.key, message.by_prefix))

    def _kv_list(self, event: RequestMade) -> m.Answer:
        message: Any = event.message
        return m.Keys(self._brain.store.list(message.namespace, message.prefix))

    def _kv_exists(self, event: RequestMade) -> m.Answer:
        message: Any = event.message
        return m.Flag(self._brain.store.exists(message.namespace, message.key))


_HANDLERS: dict[type, Callable[[Requests, RequestMade], m.Answer | None]] = {
    m.RegisterClass: Requests._register_class,
    m.ClusterResources: Requests._cluster_resources,
    m.AvailableResources: Requests._available_resources,
    m.Nodes: Requests._nodes,
    m.CreateActor: Requests._create_actor,
    m.KillActor: Requests._kill_actor,
    m.ActorNoLongerNeeded: Requests._actor_no_longer_needed,
    m.NamedActor: Requests._named_actor,
    m.ListNamedActors: Requests._list_named_actors,
    m.GetActorInfo: Requests._actor_info,
    m.GetWorkerInfo: Requests._worker_info,
    m.CreatePlacementGroup: Requests._create_group,
    m.RemovePlacementGroup: Requests._remove_group,
    m.PlacementGroupTable: Requests._group_table,
    m.NamedPlacementGroup: Requests._named_group,
    m.WaitPlacementGroup: Requests._wait_group,
    m.KeyValuePut: Requests._kv_put,
    m.KeyValueGet: Requests._kv_get,
    m.KeyValueDelete: Requests._kv_delete,
    m.KeyValueList: Requests._kv_list,
    m.KeyValueExists: Requests._kv_exists,
}
