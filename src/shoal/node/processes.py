"""The processes a node runs: workers of tasks and actors, and what each of them holds."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shoal.node.resources import Allocation, ResourcePool

Devices = tuple[tuple[str, tuple[int, ...]], ...]


class Holding(msgspec.Struct, eq=False):
    """Resources somebody has, and where from."""

    pool: ResourcePool
    allocation: Allocation

    def release(self) -> None:
        self.pool.release(self.allocation)


class Process(msgspec.Struct, eq=False):
    """``slot`` is 0 until the shell reserved one, ``pid`` 0 until it was forked. ``queue`` is the lease of a worker of
    tasks."""

    number: int
    environment: str = ""
    devices: Devices = ()
    actor_id: bytes = b""
    slot: int = 0
    pid: int = 0
    generation: int = 0
    queue: int = 0
    owner: int = 0  # slot whose work it does (the owner of its queue, or of the actor)
    root: int = 0  # driver behind that owner
    holding: Holding | None = None
    leased_s: float = 0.0
    active_s: float = 0.0  # last time it was seen at work
    running: int = 0
    blocked: bool = False
    executed: int = 0
    releasing: bool = False  # Unassign was asked for
    owner_gone: bool = False  # what it is seen to run, if anything, nobody wants any more
    killing: str = ""  # reason, once KillProcess was asked for
    alone: bool = False  # ended for memory although nothing else ran
    retiring: bool = False

    @property
    def is_worker(self) -> bool:
        return not self.actor_id

    @property
    def leased(self) -> bool:
        return self.queue != 0

    @property
    def reusable(self) -> bool:
        """Idle and free for another queue."""
        return self.is_worker and not self.queue and not self.killing and not self.retiring


class ProcessTable:
    """By number (given here) and by slot (given by the shell)."""

    def __init__(self) -> None:
        self._next = 1
        self._by_number: dict[int, Process] = {}
        self._by_slot: dict[int, Process] = {}

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._by_number.values()))

    def __len__(self) -> int:
        return len(self._by_number)

    def new(self, environment: str = "", devices: Devices = (), actor_id: bytes = b"") -> Process:
        process = Process(self._next, environment, devices, actor_id)
        self._next += 1
        self._by_number[process.number] = process
        return process

    def number(self, number: int) -> Process | None:
        return self._by_number.get(number)

    def at(self, slot: int) -> Process | None:
        return self._by_slot.get(slot)

    def place(self, process: Process, slot: int) -> None:
        process.slot = slot
        self._by_slot[slot] = process

    def remove(self, process: Process) -> None:
        self._by_number.pop(process.number, None)
        if self._by_slot.get(process.slot) is process:
            del self._by_slot[process.slot]

    def workers(self) -> Iterator[Process]:
        return (process for process in self._by_number.values() if process.is_worker)

    def root_of(self, slot: int) -> int:
        """The driver for whom the process at ``slot`` works; a slot that is none of ours is a driver."""
        process = self._by_slot.get(slot)
        return process.root if process else slot

    def holdings(self) -> list[Holding]:
        return [process.holding for process in self._by_number.values() if process.holding]
