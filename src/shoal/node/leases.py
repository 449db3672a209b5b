"""Leases: which process serves which queue, by resources.

A lease gives a worker to one queue until it is taken away. A queue with work and too few workers, an actor that waits to be
made and a placement group that waits for room are *demands*. A demand is met from what is free; else from workers that are
leased but have nothing to do; else, after a time slice, from a worker of whoever has more than the demand's owner.

Who comes first among demands: one that waited longer than PATIENCE_S; then work of owners that are blocked (they can only go
on when it is done, and running the youngest's first keeps the number of blocked processes at the depth of a nesting, not its
breadth); then whoever has least. A demand that waited longer than PATIENCE_S and does not fit keeps what it needs from being
given to others, for a while.

A worker blocked in get or wait lends its CPU, so nesting of any depth goes on. When it wakes up the node is oversubscribed
until one worker finishes its task and is taken away.

Who dies, and what is true then: a worker's resources are free once ProcessDied is handled, not before; a lease of a process
that was not even forked yet dies with it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shoal.node.events import Assign, ForkProcess, Instruction, QueueSeen, RetireWorker, SetLent, SlotSeen, Unassign
from shoal.node.processes import Devices, Holding, Process, ProcessTable
from shoal.node.resources import CPU, UNITS, Allocation, ResourcePool
from shoal.node.scheduling_classes import ClassTable, SchedulingClass

SLICE_S = 0.05
PATIENCE_S = 1.0
RESERVATION_PERIOD_S = 10.0
"""For the first 0.3 of each such period (after PATIENCE_S) a waiting demand keeps others from what it needs: a big request
gets its chance among small ones, and what it cannot get (a long task, an actor) does not stop the node for longer."""
IDLE_S = 2.0
"""A leased worker without work for so long gives its lease back; an idle one beyond the number of CPUs leaves."""
FORKS_AT_ONCE_MIN = 4

PoolsOf = Callable[[SchedulingClass], list[ResourcePool]]


class Demand(msgspec.Struct, eq=False):
    """Somebody who waits for resources. ``start(holding)`` gives them to it. ``count`` more of them are wanted."""

    amounts: dict[str, int]
    pools: list[ResourcePool]
    owner: int
    root: int
    queue: int = 0
    class_id: int = 0
    count: int = 1
    since_s: float = 0.0
    share: int = 0
    owner_blocked: bool = False
    depth_s: float = 0.0  # when its blocked owner began: later owners are deeper in a nesting
    start: Callable[[Holding], None] | None = None
    place: Callable[[], bool] | None = None  # placement groups take several allocations at once
    bundles: list[dict[str, int]] = msgspec.field(default_factory=list)  # of a placement group
    name: str = ""  # of what is to be started; "": the queue's tasks
    failed: bool = False


class _QueueInfo(msgspec.Struct, eq=False):
    seen: QueueSeen
    unmet_since_s: float | None = None
    served_s: float = 0.0
    startup_deaths: int = 0


class Leases:
    """See the module. ``others()`` yields the demands of actors and placement groups."""

    def __init__(
        self,
        processes: ProcessTable,
        classes: ClassTable,
        pools_of: PoolsOf,
        emit: Callable[[Instruction], None],
        others: Callable[[], list[Demand]],
        cores: int,
    ) -> None:
        self._processes = processes
        self._classes = classes
        self._pools_of = pools_of
        self._emit = emit
        self._others = others
        self._cores = max(1, cores)
        self.queues: dict[int, _QueueInfo] = {}
        self.burst = 2 * self._cores
        self.unmet: list[Demand] = []
        self._last_slice_s = 0.0
        self.owns_something: Callable[[int], bool] = lambda slot: False

    # ------------------------------------------------------------ what was seen

    def see(self, now_s: float, queues: list[QueueSeen], slots: list[SlotSeen]) -> None:
        """Takes in a look at the arena; does not schedule."""
        known = self.queues
        self.queues = {}
        for seen in queues:
            info = known.get(seen.queue)
            if info is None or (info.seen.owner, info.seen.class_id) != (seen.owner, seen.class_id):
                info = _QueueInfo(seen)
            info.seen = seen
            self.queues[seen.queue] = info
        for slot in slots:
            process = self._processes.at(slot.slot)
            if process is not None:
                self._see_process(process, slot, now_s)

    def _see_process(self, process: Process, seen: SlotSeen, now_s: float) -> None:
        if seen.running or seen.executed != process.executed:
            process.active_s = now_s
        process.running, process.executed = seen.running, seen.executed
        blocked = bool(seen.blocked and seen.running)
        holding = process.holding
        if process.blocked and not blocked:
            process.blocked = False
            if holding and holding.allocation.cpu_lent:
                holding.pool.take_back_cpu(holding.allocation)
                self._emit(SetLent(process.slot, False))
        elif blocked and not process.blocked:
            process.blocked = True
        if process.releasing and not seen.queue and not seen.running:
            self.idle(process, now_s)

    def idle(self, process: Process, now_s: float) -> None:
        """The worker serves nothing any more: its lease is over."""
        process.queue = process.running = 0
        process.releasing = process.blocked = process.owner_gone = False
        process.active_s = now_s
        if process.holding:
            process.holding.release()
            process.holding = None

    # ------------------------------------------------------------ scheduling

    def schedule(self, now_s: float) -> None:
        """Meets every demand that can be met; ``unmet`` holds the rest."""
        while True:
            demands = self._demands(now_s)
            demands.sort(key=lambda demand: _urgency(demand, now_s))
            if not self._serve_first(demands, now_s):
                break
        self.unmet = demands
        if not demands:
            self.burst = 2 * self._cores
        self._rebalance_oversubscription()

    def _serve_first(self, demands: list[Demand], now_s: float) -> bool:
        reserved: set[str] = set()
        failed: set[tuple[int, int]] = set()
        for demand in demands:
            if reserved & set(demand.amounts) or (demand.class_id and (demand.class_id, demand.queue) in failed):
                continue
            if self._serve(demand, now_s):
                return True
            failed.add((demand.class_id, demand.queue))
            waited_s = now_s - demand.since_s
            if PATIENCE_S < waited_s % RESERVATION_PERIOD_S < RESERVATION_PERIOD_S * 0.3 and not demand.failed:
                reserved |= set(demand.amounts)
        return False

    def _serve(self, demand: Demand, now_s: float) -> bool:
        if demand.place is not None:
            if demand.place():
                return True
            self._reclaim(demand)
            return False
        if demand.queue and not self._may_start_another(demand):
            demand.failed = True
            return False
        holding = self._take(demand)
        if holding is None:
            return False
        if demand.start is not None:
            demand.start(holding)
        else:
            self._lease(demand, holding, now_s)
        return True

    def _take(self, demand: Demand) -> Holding | None:
        for pool in demand.pools:
            self._borrow(pool, demand.amounts)
            allocation = pool.allocate(demand.amounts)
            if allocation is not None:
                return Holding(pool, allocation)
        self._reclaim(demand)
        return None

    def _borrow(self, pool: ResourcePool, amounts: dict[str, int]) -> None:
        """Lends the CPUs of blocked processes, as many as the amounts need."""
        wanted = amounts.get(CPU, 0)
        if not wanted or wanted <= pool.available.get(CPU, 0):
            return
        for process in self._processes:
            holding = process.holding
            if not process.blocked or holding is None or holding.pool is not pool or holding.allocation.cpu_lent:
                continue
            if holding.allocation.amounts.get(CPU):
                pool.lend_cpu(holding.allocation)
                self._emit(SetLent(process.slot, True))
                if wanted <= pool.available[CPU]:
                    return

    def _reclaim(self, demand: Demand) -> None:
        """Takes leases away from workers that have nothing to do, until the demand is (or will be) met."""
        for pool in demand.pools:
            short = {name: wanted - pool.available.get(name, 0) for name, wanted in demand.amounts.items()}
            short = {name: wanted for name, wanted in short.items() if wanted > 0}
            for process in self._processes.workers():
                if not short:
                    return
                holding = process.holding
                if holding is None or holding.pool is not pool or not short.keys() & holding.allocation.amounts.keys():
                    continue
                idle = process.leased and not process.running and process.slot and process.pid
                if not process.releasing and not (idle and process.queue != demand.queue and not self._has_work(process.queue)):
                    continue
                _subtract(short, holding.allocation)
                self.take_away(process)

    def take_away(self, process: Process) -> None:
        if process.leased and process.slot and not process.releasing and not process.killing:
            process.releasing = True
            self._emit(Unassign(process.slot))

    def _lease(self, demand: Demand, holding: Holding, now_s: float) -> None:
        scheduling_class = self._classes[demand.class_id]
        devices = holding.allocation.device_ids()
        process = self._idle_worker(scheduling_class.environment, devices)
        fork = process is None
        if process is None:
            process = self._processes.new(scheduling_class.environment, devices)
        process.queue, process.owner, process.root = demand.queue, demand.owner, demand.root
        process.holding, process.leased_s, process.active_s = holding, now_s, now_s
        process.running, process.blocked = 0, False
        info = self.queues.get(demand.queue)
        if info is not None:
            info.served_s = now_s
        if fork:
            cpus = demand.amounts.get(CPU, 0) / UNITS
            self._emit(ForkProcess(process.number, demand.queue, process.environment, devices, cpus))
        else:
            self._emit(Assign(process.slot, demand.queue))

    def _idle_worker(self, environment: str, devices: Devices) -> Process | None:
        fitting = [
            process
            for process in self._processes.workers()
            if process.reusable and process.slot and process.environment == environment and process.devices == devices
        ]
        return max(fitting, key=lambda process: (process.generation, process.active_s), default=None)

    def _may_start_another(self, demand: Demand) -> bool:
        """Bounds processes at work where resources do not (tasks of less than one CPU), and forks under way."""
        starting = sum(1 for process in self._processes if not process.pid)
        if starting >= max(FORKS_AT_ONCE_MIN, 2 * self._cores):
            return False
        at_work = sum(1 for process in self._processes.workers() if process.leased and not process.blocked)
        return demand.amounts.get(CPU, 0) >= UNITS or at_work < self.burst

    # ------------------------------------------------------------ demands

    def _demands(self, now_s: float) -> list[Demand]:
        demands = self._others()
        leased: dict[int, int] = {}
        idle: dict[int, int] = {}
        by_owner: dict[int, int] = {}
        for process in self._processes.workers():
            if not process.queue:
                continue
            if not process.releasing and not process.killing:
                leased[process.queue] = leased.get(process.queue, 0) + 1
                if not process.running:
                    idle[process.queue] = idle.get(process.queue, 0) + 1
            if not process.blocked:
                by_owner[process.owner] = by_owner.get(process.owner, 0) + 1
        for queue, info in self.queues.items():
            count = info.seen.length - idle.get(queue, 0)
            scheduling_class = self._classes.get(info.seen.class_id)
            if scheduling_class is None or scheduling_class.closed or scheduling_class.preparing:
                count = 0
            if count <= 0 or info.seen.closed or scheduling_class is None:
                info.unmet_since_s = None
                continue
            if info.unmet_since_s is None:
                info.unmet_since_s = now_s
            since_s = max(info.unmet_since_s, info.served_s)
            demand = Demand(scheduling_class.amounts, self._pools_of(scheduling_class), info.seen.owner, 0, queue)
            demand.class_id, demand.count, demand.since_s = scheduling_class.class_id, count, since_s
            demand.root = self._processes.root_of(info.seen.owner)
            demand.share = by_owner.get(info.seen.owner, 0) * 1000 + leased.get(queue, 0)
            owner = self._processes.at(info.seen.owner)
            if owner and owner.blocked:
                demand.owner_blocked, demand.depth_s = True, owner.leased_s
            demands.append(demand)
        return demands

    def _has_work(self, queue: int) -> bool:
        info = self.queues.get(queue)
        return info is not None and info.seen.length > 0

    # ------------------------------------------------------------ time

    def tick(self, now_s: float) -> None:
        """Time slices, the growth of what may run at once, idle workers. Call after ``see`` and before ``schedule``."""
        if self.unmet and now_s - self._last_slice_s >= SLICE_S * 0.9:
            self._last_slice_s = now_s
            if any(demand.failed for demand in self.unmet):
                self.burst = min(self.burst * 2, 4096)
            for demand in sorted(self.unmet, key=lambda demand: _urgency(demand, now_s)):
                if not demand.failed and now_s - demand.since_s >= SLICE_S * 0.9 and self._take_slice(demand, now_s):
                    break
        self._give_back_idle(now_s)

    def _take_slice(self, demand: Demand, now_s: float) -> bool:
        """Takes a worker from whoever has more than the demand's owner; one at a time, until enough are on their way."""
        leased: dict[int, int] = {}
        coming: dict[int, dict[str, int]] = {id(pool): dict(pool.available) for pool in demand.pools}
        for process in self._processes.workers():
            if not process.leased or process.holding is None:
                continue
            leased[process.queue] = leased.get(process.queue, 0) + 1
            free = coming.get(id(process.holding.pool))
            if process.releasing and free is not None:
                for name, units in process.holding.allocation.amounts.items():
                    free[name] = free.get(name, 0) + units
        if any(all(free.get(name, 0) >= units for name, units in demand.amounts.items()) for free in coming.values()):
            return True
        mine = leased.get(demand.queue, 0) if demand.queue else 0
        victims = [
            process
            for process in self._processes.workers()
            if process.leased and process.pid and process.queue != demand.queue and now_s - process.leased_s >= SLICE_S * 0.9
            if process.holding and id(process.holding.pool) in coming
            if not (process.blocked or process.killing or process.releasing)
            if process.holding.allocation.amounts.keys() & demand.amounts.keys() and leased[process.queue] > mine
        ]
        if not victims:
            return False
        self.take_away(max(victims, key=lambda process: (leased[process.queue], now_s - process.leased_s)))
        return True

    def _give_back_idle(self, now_s: float) -> None:
        for process in self._processes.workers():
            quiet = process.pid and not process.running and now_s - process.active_s >= IDLE_S
            if quiet and process.leased and not self._has_work(process.queue):
                self.take_away(process)
        idle = [process for process in self._processes.workers() if process.reusable and process.pid]
        idle.sort(key=lambda process: (process.environment == "" and not process.devices, process.generation, process.active_s))
        excess = sum(not process.retiring and not process.killing for process in self._processes.workers()) - self._cores
        for process in idle:
            if excess <= 0:
                break
            if now_s - process.active_s >= IDLE_S and not self.owns_something(process.slot):
                process.retiring = True
                excess -= 1
                self._emit(RetireWorker(process.slot))

    def _rebalance_oversubscription(self) -> None:
        """Woken-up workers took their CPUs back: one worker less for each CPU too many, after its present task."""
        by_pool: dict[int, list[Process]] = {}
        for process in self._processes.workers():
            if process.holding and process.leased and process.holding.allocation.amounts.get(CPU):
                by_pool.setdefault(id(process.holding.pool), []).append(process)
        for processes in by_pool.values():
            holding = processes[0].holding
            if holding is None:
                continue
            over = -holding.pool.available.get(CPU, 0)
            for process in sorted(processes, key=lambda process: (not process.releasing, -process.leased_s, -process.number)):
                if over <= 0:
                    break
                if process.blocked or process.killing or process.holding is None:
                    continue
                over -= process.holding.allocation.amounts.get(CPU, 0)
                self.take_away(process)

    def wants_tick_s(self) -> float | None:
        """Seconds until the next look is due; None: nothing changes by itself."""
        if self.unmet:
            return SLICE_S
        workers = list(self._processes.workers())
        if any(process.leased for process in workers) or len(workers) > self._cores:
            return 1.0
        return None


def _urgency(demand: Demand, now_s: float) -> tuple[object, ...]:
    return (
        now_s - demand.since_s <= PATIENCE_S,
        not demand.owner_blocked,
        -demand.depth_s,
        demand.share,
        demand.since_s,
        demand.queue,
    )


def _subtract(short: dict[str, int], allocation: Allocation) -> None:
    for name in list(short):
        short[name] -= allocation.amounts.get(name, 0)
        if short[name] <= 0:
            del short[name]
