"""The largest set of waits of which none can end unless another one of them does: found by taking away what can end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from shoal.core.native.messages import StillWaiting
from shoal.node.resources import ResourcePool
from shoal.node.shortages import Holder, Need

GOES_ON, ITSELF, ANOTHER, EXECUTIONS, WORKERS, NO_PROCESS = range(6)  # see _kernel.obstacle

Named = tuple[int, int]  # a record and its uid
Key = tuple[int, int, int]  # of a wait: slot, mailbox of an event loop, record


class Wait(NamedTuple):
    """What was told by the process in ``slot``."""

    slot: int
    message: StillWaiting
    told_s: float

    @property
    def key(self) -> Key:
        return self.slot, self.message.loop, 0 if self.message.loop else self.message.record

    @property
    def executions(self) -> list[Named]:
        """What can't go on before the wait ends."""
        if self.message.loop:
            return self.message.executions
        return [(self.message.record, self.message.uid)] if self.message.record else []


class Hold(NamedTuple):
    """What holds a record up, after all detours. Of the record ``last``: it waits for these executions (they run it, or
    ``is_queued``, it begins when one of them has ended), or needs resources; none of that: it goes on."""

    last: Named
    executions: tuple[Named, ...] = ()
    is_queued: bool = False
    need: Need | None = None


class Creation(NamedTuple):
    """What an actor without a call under way waits for: resources, or the end of its constructor."""

    need: Need | None = None
    is_constructing: bool = False
    follows_arguments: bool = False


class Agent(NamedTuple):
    """Somebody who may do something: a driver, or a process with what it executes. ``is_calm``: it does nothing by itself."""

    slot: int
    executions: tuple[Named, ...] = ()
    is_driver: bool = False
    is_calm: bool = False


class TaskGraph(Protocol):
    """What is asked of the arena."""

    def obstacle(self, record: int, uid: int) -> tuple[int, list[Named]]: ...


class Node(Protocol):
    """What is asked of the node: who needs and who holds what."""

    def need_of(self, class_id: int) -> Need | None:
        """What work of the scheduling class waits for; None: for no resources."""

    def creation_of(self, record: int, uid: int) -> Creation: ...

    def holders_in(self, pool: ResourcePool) -> list[Holder]: ...


class Standstill:
    """What counts as held is by default what the processes of the waits in the set hold, and an event loop stands still also
    where a new call could come to it. ``holding_slot``: only what this process holds, and no new call may come.
    ``until_ended``: also what actors and placement groups hold without waiting, until somebody ends them."""

    def __init__(
        self,
        waits: Mapping[Key, Wait],
        arena: TaskGraph,
        node: Node,
        *,
        holding_slot: int = 0,
        until_ended: bool = False,
    ) -> None:
        self._waits = dict(waits)
        self._arena = arena
        self._node = node
        self._holding_slot = holding_slot
        self._until_ended = until_ended
        self._holds: dict[Named, Hold] = {}
        self._holders: dict[int, list[Holder]] = {}
        self._of_execution = {each: key for key, wait in waits.items() for each in wait.executions}
        self._stuck = {key for key, wait in waits.items() if not (holding_slot and wait.message.takes_calls)}
        self._slots: dict[int, set[Key]] = {}
        for key in self._stuck:
            self._slots.setdefault(key[0], set()).add(key)
        self._reduce()

    def __contains__(self, key: Key) -> bool:
        return key in self._stuck

    def ways_from(self, key: Key) -> list[tuple[Named, Hold, list[Key]]]:
        """What the wait in the set waits for: each record, what holds it up, and the waits that do."""
        found = []
        for awaited in self._waits[key].message.awaited:
            hold = self._hold_of(awaited)
            if self._is_held(hold):
                found.append((awaited, hold, self._keepers(hold)))
        return found

    def reached_from(self, key: Key) -> set[Key]:
        """All waits on which this one depends, with itself."""
        found, todo = {key}, [key]
        while todo:
            for _, _, others in self.ways_from(todo.pop()):
                todo += [other for other in others if other not in found]
                found.update(others)
        return found

    def is_hopeless(self, need: Need) -> bool:
        """Whether what the set holds keeps the need from being met."""
        for pool in need.pools:
            held = [(holder.allocation, self._lends_cpu(holder)) for holder in self._keeping_in(pool)]
            if pool.could_give(need.parts, held):
                return False
        return True

    def lacking(self, need: Need) -> dict[str, int]:
        """The amounts of a hopeless need that alone would make it so; all of them when only together they do."""
        total = need.total()
        alone = {name: units for name, units in total.items() if self.is_hopeless(need.of(name))}
        return alone or total

    def holders_of(self, need: Need) -> list[Holder]:
        """Who in the set holds something that a hopeless need lacks."""
        wanted = self.lacking(need).keys()
        holders = [holder for pool in need.pools for holder in self._keeping_in(pool)]
        return [holder for holder in holders if wanted & holder.allocation.amounts.keys()]

    def waits_of(self, agent: Agent) -> list[Wait] | None:
        """Its waits, when it does nothing else than wait in the set; else None."""
        if agent.is_driver:
            keys: set[Key | None] = {(agent.slot, 0, 0)}
        else:
            keys = {self._of_execution.get(each) for each in agent.executions}
        if not keys:
            return [] if agent.is_calm else None
        waits = [self._waits[key] for key in keys if key is not None and key in self._stuck]
        return waits if len(waits) == len(keys) else None

    # ------------------------------------------------------------ helpers

    def _reduce(self) -> None:
        """Takes away what can end, and looks again at what depended on it."""
        dependents: dict[Key, set[Key]] = {}
        needing: set[Key] = set()
        for key in self._stuck:
            for awaited in self._waits[key].message.awaited:
                hold = self._hold_of(awaited)
                if hold.need is not None:
                    needing.add(key)
                for each in hold.executions:
                    other = self._of_execution.get(each)
                    if other is not None:
                        dependents.setdefault(other, set()).add(key)
        todo = list(self._stuck)
        while todo:
            key = todo.pop()
            if key in self._stuck and self._can_end(self._waits[key]):
                self._stuck.discard(key)
                self._slots[key[0]].discard(key)
                todo += dependents.get(key, ())
                todo += needing

    def _can_end(self, wait: Wait) -> bool:
        hopeful = 0
        for awaited in wait.message.awaited:
            hopeful += not self._is_held(self._hold_of(awaited))
            if hopeful >= wait.message.need:
                return True
        return wait.message.need <= 0

    def _is_held(self, hold: Hold) -> bool:
        if hold.need is not None:
            return self.is_hopeless(hold.need)
        return bool(hold.executions) and all(self._blocks(each, hold.is_queued) for each in hold.executions)

    def _blocks(self, execution: Named, is_queued: bool) -> bool:
        key = self._of_execution.get(execution)
        if key is None or key not in self._stuck:
            return False
        return not (is_queued and self._waits[key].message.takes_calls)

    def _keepers(self, hold: Hold) -> list[Key]:
        if hold.need is None:
            return list(dict.fromkeys(self._of_execution[each] for each in hold.executions))
        slots = dict.fromkeys(holder.slot for holder in self.holders_of(hold.need) if holder.slot)
        return [key for slot in slots for key in sorted(self._slots.get(slot, ()))]

    def _keeping_in(self, pool: ResourcePool) -> list[Holder]:
        holders = self._holders.get(id(pool))
        if holders is None:
            holders = self._holders[id(pool)] = self._node.holders_in(pool)
        return [holder for holder in holders if self._holds_on(holder)]

    def _holds_on(self, holder: Holder) -> bool:
        if self._holding_slot:
            return holder.slot == self._holding_slot
        return bool(holder.slot and self._slots.get(holder.slot)) or (self._until_ended and not holder.ends_by_itself)

    def _lends_cpu(self, holder: Holder) -> bool:
        """Threads that wait lend their CPU to others; an event loop that waits does not."""
        waits = [self._waits[key] for key in self._slots.get(holder.slot, ())] if holder.slot else []
        return any(not wait.message.loop or wait.message.blocks_loop for wait in waits)

    def _hold_of(self, awaited: Named) -> Hold:
        hold = self._holds.get(awaited)
        if hold is None:
            hold = self._holds[awaited] = self._follow(awaited)
        return hold

    def _follow(self, awaited: Named) -> Hold:
        seen: set[Named] = set()
        while awaited not in seen:
            seen.add(awaited)
            kind, others = self._arena.obstacle(*awaited)
            if kind == ANOTHER:
                awaited = others[0]
            elif kind in (ITSELF, EXECUTIONS):
                return Hold(awaited, tuple(others), kind == EXECUTIONS)
            elif kind == WORKERS:
                return Hold(awaited, need=self._node.need_of(others[0][1]))
            elif kind == NO_PROCESS:
                creation = self._node.creation_of(*others[0])
                if creation.follows_arguments:
                    awaited = others[0]
                    continue
                return Hold(awaited, tuple(others) if creation.is_constructing else (), True, creation.need)
            else:
                break
        return Hold(awaited)
