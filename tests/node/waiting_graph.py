"""A task graph and a node that a test makes up: who waits for what, and who holds what of one resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from shoal.core.native.messages import StillWaiting
from shoal.node.resources import Allocation, ResourcePool
from shoal.node.shortages import Holder, Need
from shoal.node.standstill import GOES_ON, WORKERS, Agent, Creation, Named

RESOURCE = "lathe"
DRIVER_SLOT = 1


def named(record: int) -> Named:
    return record, record + 100


@dataclass
class SlotState:
    blocked: bool = True
    running: int = 0


@dataclass
class Graph:
    """``obstacles``: of each record, as the kernel tells them; ``slots``: where a record runs. A record's uid is 100 more, and
    the scheduling class of a record that waits for a worker is the number of units that it needs."""

    obstacles: dict[int, tuple[int, list[int]]]
    slots: dict[int, int]
    interrupted: set[int] = field(default_factory=set)

    def obstacle(self, record: int, uid: int) -> tuple[int, list[Named]]:
        assert uid == record + 100
        kind, others = self.obstacles.get(record, (GOES_ON, []))
        return kind, [(7, others[0])] if kind == WORKERS else [named(other) for other in others]

    def running_slot(self, record: int, uid: int) -> int:
        return self.slots.get(record, 0)

    def slot_state(self, slot: int) -> SlotState:
        running = [record for record, where in self.slots.items() if where == slot]
        return SlotState(slot not in self.interrupted, running[-1] if running else 0)

    def record_uid(self, record: int) -> int:
        return record + 100


@dataclass
class Node:
    """``held``: units by slot. ``kept``: units of actors that do nothing. ``agents_of``: what ``agents`` answers."""

    units: int = 1
    held: dict[int, int] = field(default_factory=dict)
    kept: int = 0
    agents_of: list[Agent] | None = None
    creations: dict[int, Creation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = ResourcePool({RESOURCE: self.units})

    def need(self, units: int) -> Need:
        return Need([{RESOURCE: units}], [self.pool])

    def need_of(self, class_id: int) -> Need | None:
        return self.need(class_id)

    def creation_of(self, record: int, uid: int) -> Creation:
        return self.creations.get(record, Creation())

    def holders_in(self, pool: ResourcePool) -> list[Holder]:
        assert pool is self.pool
        holders = [
            Holder(slot, partial("s{}".format, slot), Allocation({RESOURCE: units}), True)
            for slot, units in self.held.items()
            if units
        ]
        return [*holders, Holder(500, lambda: "keeper", Allocation({RESOURCE: self.kept}))] if self.kept else holders

    def agents(self) -> list[Agent] | None:
        return self.agents_of

    def open_needs(self) -> list[Need]:
        return []


def waiting(record: int, *awaited: int, need: int | None = None, **more: object) -> StillWaiting:
    """What an execution tells; record 0: the driver."""
    wanted = len(awaited) if need is None else need
    return StillWaiting(record, record + 100 if record else 0, [named(each) for each in awaited], wanted, **more)  # type: ignore[arg-type]


def loop_waiting(mailbox: int, executions: list[int], *awaited: int, **more: object) -> StillWaiting:
    """What an event loop tells."""
    told = [named(each) for each in awaited]
    return StillWaiting(0, 0, told, 1, mailbox, [named(each) for each in executions], **more)  # type: ignore[arg-type]
