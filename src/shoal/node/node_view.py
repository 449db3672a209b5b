"""What those who look for waits without an end are shown of the node: who needs what, who holds what, who may still act."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from shoal.node.actors import Actor
from shoal.node.brain import Brain
from shoal.node.placement_groups import PlacementGroup
from shoal.node.processes import Process
from shoal.node.resources import ResourcePool
from shoal.node.shortages import Holder, Need, Shortage
from shoal.node.standstill import Agent, Creation, Named


class Facts(Protocol):
    """What only the shell can know."""

    embedded: bool
    """The node ends with the driver that started it, so that its drivers are known."""

    def executions(self, slot: int) -> list[Named]: ...
    def describe(self, execution: Named) -> str: ...
    def driver_slots(self) -> list[int]: ...
    def mailbox_length(self, mailbox: int) -> int: ...
    def has_one_thread(self, pid: int) -> bool: ...
    def queued_name(self, queue: int) -> str: ...


class NodeView:
    def __init__(self, brain: Brain, facts: Facts) -> None:
        self._brain = brain
        self._facts = facts

    # ------------------------------------------------------------ needs

    def need_of(self, class_id: int) -> Need | None:
        """What work of the class waits for; None: for no resources."""
        brain = self._brain
        item = brain.classes.get(class_id)
        if item is None or item.closed is not None or item.preparing:
            return None
        if not item.group_id:
            return Need([item.amounts], [brain.pool])
        group = brain.groups.get(item.group_id)
        if group is None or group.infeasible or group.state == "REMOVED":
            return None
        if group.state == "PENDING":
            return Need(group.bundles, [brain.pool])
        return Need([item.amounts], brain.pools_of(item))

    def creation_of(self, record: int, uid: int) -> Creation:
        """What the actor with the record waits for."""
        actor = self._brain.actors.of_record(record)
        if actor is None or actor.request.uid != uid:
            return Creation()
        if actor.process is not None:
            return Creation(is_constructing=(record, uid) in self._constructing(actor.process))
        if actor.state == "DEPENDENCIES_UNREADY":
            return Creation(follows_arguments=True)
        return Creation(self.need_of(actor.request.creation_class_id))

    def open_needs(self) -> list[Need]:
        """Of all work that waits for resources."""
        brain = self._brain
        waiting = [info.seen.class_id for info in brain.leases.queues.values() if info.seen.length and not info.seen.closed]
        waiting += [
            a.request.creation_class_id for a in brain.actors.living() if not a.process and a.state != "DEPENDENCIES_UNREADY"
        ]
        found = [self.need_of(class_id) or Need([], [brain.pool]) for class_id in waiting]
        return found + [
            Need(each.bundles, [brain.pool]) for each in brain.groups.all() if each.state == "PENDING" and not each.infeasible
        ]

    def shortages(self) -> list[Shortage]:
        """What waits for resources now."""
        brain = self._brain
        found = []
        for demand in brain.leases.unmet:
            need = self.need_of(demand.class_id) if demand.class_id else Need(demand.bundles, demand.pools)
            if need is None or self._waits_for_group(demand.class_id):
                continue

            def what(count: int = demand.count, name: str = demand.name, queue: int = demand.queue) -> str:
                name = name or self._facts.queued_name(queue)
                return f"{name} (and {count - 1} more like it)" if count > 1 else name

            key = (demand.root, demand.class_id, demand.name)
            found.append(Shortage(key, what, need, demand.since_s, demand.root))
        return found

    def _waits_for_group(self, class_id: int) -> bool:
        """Whether the class is that of a placement group which is itself told of."""
        item = self._brain.classes.get(class_id)
        group = self._brain.groups.get(item.group_id) if item is not None and item.group_id else None
        told = [demand.bundles for demand in self._brain.leases.unmet]
        return group is not None and group.state == "PENDING" and any(bundles is group.bundles for bundles in told)

    # ------------------------------------------------------------ holders

    def holders_in(self, pool: ResourcePool) -> list[Holder]:
        """Who holds something of the pool."""
        brain = self._brain
        found = []
        for process in brain.processes:
            holding = process.holding
            if holding is None or holding.pool is not pool or process.killing or not process.slot:
                continue
            if process.is_worker:
                name = partial(self._task_name, process)
                found.append(Holder(process.slot, name, holding.allocation, ends_by_itself=True))
                continue
            actor = brain.actors.get(process.actor_id)
            if actor is not None and not actor.leaving:
                found.append(Holder(process.slot, partial(_actor_name, actor, process), holding.allocation))
        if pool is brain.pool:
            for group in brain.groups.all():
                if group.state == "CREATED":
                    found += [Holder(0, partial(_group_name, group), allocation) for allocation in group.reserved]
        return found

    # ------------------------------------------------------------ agents

    def agents(self) -> list[Agent] | None:
        """Everybody who may do something by himself; None: somebody is about whom nobody can know."""
        brain, facts = self._brain, self._facts
        preparing = any(item.preparing for item in brain.classes.all())
        if not facts.embedded or preparing or brain.memory_retries.next_s(brain.now_s) is not None:
            return None
        found = [Agent(slot, is_driver=True) for slot in facts.driver_slots()]
        for process in brain.processes:
            if not process.slot or not process.pid:
                return None
            executions = facts.executions(process.slot) + self._constructing(process)
            actor = brain.actors.get(process.actor_id) if process.actor_id else None
            has_mail = actor is not None and any(map(facts.mailbox_length, actor.request.mailboxes))
            is_calm = not executions and not has_mail and facts.has_one_thread(process.pid)
            found.append(Agent(process.slot, tuple(executions), is_calm=is_calm))
        return found

    # ------------------------------------------------------------ helpers

    def _constructing(self, process: Process) -> list[Named]:
        actor = self._brain.actors.get(process.actor_id) if process.actor_id else None
        if actor is None or actor.process is not process or actor.request.record not in self._brain.actors.starting:
            return []
        return [(actor.request.record, actor.request.uid)]

    def _task_name(self, process: Process) -> str:
        names = [self._facts.describe(execution) for execution in self._facts.executions(process.slot)]
        return f"{names[0]}, which waits" if names else f"a worker (pid {process.pid})"


def _actor_name(actor: Actor, process: Process) -> str:
    return f"actor {actor.request.name or actor.request.class_name} (pid {process.pid})"


def _group_name(group: PlacementGroup) -> str:
    return f"placement group {group.request.name or group.request.group_id.hex()}"
