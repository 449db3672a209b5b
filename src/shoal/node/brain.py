"""The brain of a node: events in, instructions out. It never reads a clock, a socket or a process.

``handle(event)`` returns what the shell must do, in order. The shell answers ForkProcess (SlotReserved) and Unassign
(SlotIdle) with events of their own at once. ``wants_tick_s()`` says when the brain wants to look again although nothing rang;
None at rest.

Who dies, and what is true then: a worker -> its running tasks are queued again or failed with a text that says how it died;
what it had submitted fails or ends with it; its actors end with it. A driver -> the same for everything that was started for
it. The brain itself keeps no promise beyond the daemon's life: when the daemon dies, the zygote ends every process of the
node."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from shoal.core.native.key_value import KeyValueStore
from shoal.core.native.messages import CollectGarbage, ErrorEvent, RegisterClass
from shoal.node.actors import NO_HANDLES, Actors
from shoal.node.events import (
    ActorInitFailed,
    ActorNotMade,
    ActorReady,
    ActorStarted,
    ActorUnreferenced,
    CloseQueue,
    DeadTaskSeen,
    DriverConnected,
    DriverGone,
    EnvironmentFailed,
    EnvironmentReady,
    ErrorFacts,
    Event,
    FailTask,
    FreeQueue,
    Instruction,
    KillProcess,
    MemoryShort,
    Notify,
    PauseCancelled,
    ProcessDied,
    ProcessForked,
    RequestMade,
    RequeueTask,
    Seen,
    SetStarving,
    SlotIdle,
    SlotReserved,
)
from shoal.node.exit_status import ExitKind, describe_death, exit_kind, exit_type
from shoal.node.leases import Demand, Leases
from shoal.node.memory_retries import MemoryRetries, Pause
from shoal.node.placement_groups import PlacementGroup, PlacementGroups
from shoal.node.prepared_environments import PreparedEnvironments
from shoal.node.processes import Holding, Process, ProcessTable
from shoal.node.requests import Requests
from shoal.node.resources import CPU, ResourcePool, to_units
from shoal.node.scheduling_classes import ClassTable, SchedulingClass

OUT_OF_MEMORY = "out of memory"
CANCELLED = "cancelled"
GARBAGE_WAIT_S, GARBAGE_PERIOD_S = 1.0, 10.0
"""So long work waits before drivers collect garbage, and so long until they do it again."""
EXIT_REASONS = {
    CANCELLED: "ended by ray.cancel with force=True",
    "placement_group_removed": "its placement group was removed",
    "owner_died": "the process that submitted its task has died",
}
STARTUP_DEATHS_MAX = 5
"""So many workers in a row may die for one queue before they ran anything; then the queue is closed with an error."""
STARTUP_KILLS_MAX = 50
"""The same where the last one was ended by SIGKILL: that is somebody else's doing, and may stop."""

HOPELESS_S = 3.0
"""Who waits for a placement group that can never be placed is told so long after it was first seen to wait."""
HOPELESS_TICK_S = 0.5

Matcher = Callable[[Mapping[str, str], Mapping[str, str]], bool]


class Brain:
    """``resources``: totals of the node. ``matches(selector, labels)`` decides label selectors
    (default: equal values)."""

    def __init__(
        self,
        resources: dict[str, float],
        node_id: str = "",
        labels: Mapping[str, str] | None = None,
        matches: Matcher | None = None,
        cores: int | None = None,
    ) -> None:
        self.node_id = node_id
        self.labels = dict(labels or {})
        self.resources = dict(resources)
        self.pool = ResourcePool(to_units(resources))
        self.cores = max(1, int(resources.get(CPU, 1))) if cores is None else cores
        self.processes = ProcessTable()
        self.classes = ClassTable(node_id, self.labels, matches or _equal)
        self.environments = PreparedEnvironments(self.classes, self._emit)
        self.groups = PlacementGroups(self.pool, self.labels, matches or _equal)
        self.actors = Actors(self.processes, self.classes, self.pools_of, self._emit)
        self.leases = Leases(self.processes, self.classes, self.pools_of, self._emit, self._other_demands, self.cores)
        self.leases.owns_something = self._owns_something
        self.store = KeyValueStore()
        self.memory_retries = MemoryRetries()
        self.drivers: dict[int, DriverConnected] = {}
        self._ended_drivers: set[int] = set()  # slots that no driver has taken again
        self.now_s = 0.0
        self.starving = False
        self._garbage_at_s = 0.0
        self._out: list[Instruction] = []
        self._doomed_queues: dict[int, ErrorFacts] = {}
        self._requests = Requests(self)
        self.default_class_id = self.classes.register(RegisterClass({CPU: 1.0}), lambda amounts: {})

    # ------------------------------------------------------------ the surface

    def handle(self, event: Event) -> list[Instruction]:
        """Takes in one event. The instructions are in the order in which they must be carried out."""
        _HANDLERS[type(event)](self, event)
        self._after()
        out, self._out = self._out, []
        return out

    def wants_tick_s(self) -> float | None:
        """Seconds until ``Seen`` is wanted although nothing rang; None: nothing changes by itself."""
        hopeless_s = HOPELESS_TICK_S if self._hopeless_groups() else None
        wanted = [self.leases.wants_tick_s(), hopeless_s, self.memory_retries.next_s(self.now_s)]
        return min((due_s for due_s in wanted if due_s is not None), default=None)

    def slots_to_watch(self) -> list[int]:
        """Processes whose state matters for scheduling: leased workers, and actors that hold CPUs."""
        watched = []
        for process in self.processes:
            holds_cpu = process.holding is not None and process.holding.allocation.amounts.get(CPU)
            if process.slot and process.pid and (process.queue or (holds_cpu and not process.is_worker)):
                watched.append(process.slot)
        return watched

    def start_workers(self, count: int, queue: int = 0, owner: int = 0) -> list[int]:
        """Workers that are forked at the start of the session, leased to the owner's default queue if there is one.

        Returns their numbers; each needs SlotReserved and ProcessForked."""
        numbers = []
        for _ in range(count):
            process = self.processes.new()
            numbers.append(process.number)
            allocation = self.pool.allocate(self.classes[self.default_class_id].amounts) if queue else None
            if allocation is not None:
                process.queue, process.owner, process.root = queue, owner, owner
                process.holding = Holding(self.pool, allocation)
        return numbers

    def validate_state(self) -> None:
        """Raises AssertionError when the books do not agree with each other."""
        holdings = self.processes.holdings()
        node = [holding.allocation for holding in holdings if holding.pool is self.pool]
        self.pool.validate([*node, *self.groups.reservations()])
        for group in self.groups.all():
            for pool in group.pools:
                pool.validate([holding.allocation for holding in holdings if holding.pool is pool])
        for process in self.processes:
            if process.is_worker and bool(process.queue) != bool(process.holding):
                raise AssertionError(f"process {process.number} serves queue {process.queue} but holds {process.holding}")
            if process.slot and self.processes.at(process.slot) is not process:
                raise AssertionError(f"slot {process.slot} is not process {process.number}")
        for actor in self.actors.living():
            if (actor.process is not None) != (actor.state == "ALIVE" or actor.request.record in self.actors.starting):
                raise AssertionError(f"actor {actor.actor_id.hex()} is {actor.state} with process {actor.process}")

    # ------------------------------------------------------------ events

    def _on_seen(self, event: Seen) -> None:
        self.now_s = event.now_s
        self.leases.see(event.now_s, event.queues, event.slots)
        for process in self.processes.workers():
            if process.owner_gone and process.running:
                self._kill(process, "owner_died")
        for seen in event.queues:
            if not seen.closed:
                self._close_if_doomed(seen.queue, seen.class_id)
        for record, uid in self.memory_retries.due(event.now_s):
            self._emit(RequeueTask(record, uid, use_retry=False))
        for group in self._hopeless_groups():
            group.hopeless_s = group.hopeless_s or event.now_s
            if event.now_s - group.hopeless_s >= HOPELESS_S:
                self._fail_hopeless(group)
        self.leases.tick(event.now_s)

    def _on_slot_reserved(self, event: SlotReserved) -> None:
        process = self.processes.number(event.number)
        if process is None:
            return
        if event.slot:
            self.processes.place(process, event.slot)
            if process.killing:
                self._emit(KillProcess(event.slot, process.killing))
            return
        if process.holding:
            process.holding.release()
            process.holding = None
        self.processes.remove(process)
        died = ProcessDied(0, 0, 1, log_tail=event.reason)
        if process.is_worker:
            self._emit(Notify(process.root, ErrorEvent("fork", f"a worker could not be started: {event.reason}")))
        else:
            self.actors.process_died(process, died, self.now_s)

    def _on_process_forked(self, event: ProcessForked) -> None:
        process = self.processes.at(event.slot)
        if process is None:
            return
        process.pid, process.generation = event.pid, event.generation
        process.active_s = self.now_s
        if not process.is_worker:
            actor = self.actors.get(process.actor_id)
            if actor is not None and actor.process is process:
                actor.pid = event.pid
                if actor.constructed:  # a restart: its record is sealed already
                    self.actors.started(actor)

    def _on_slot_idle(self, event: SlotIdle) -> None:
        process = self.processes.at(event.slot)
        if process is not None and process.releasing:
            self.leases.idle(process, self.now_s)

    def _on_process_died(self, event: ProcessDied) -> None:
        process = self.processes.at(event.slot)
        if process is not None:
            self.processes.remove(process)
            if process.holding:
                process.holding.release()
                process.holding = None
            if process.is_worker:
                self._worker_died(process, event)
            else:
                self.actors.process_died(process, event, self.now_s)
        self._owner_died(event.slot, event.orphans, event.owned_queues)

    def _worker_died(self, process: Process, died: ProcessDied) -> None:
        for task in died.dead_tasks:
            self._decide(task, process, died)
        info = self.leases.queues.get(process.queue)
        if died.dead_tasks or process.executed:
            if info is not None:
                info.startup_deaths = 0
            return
        if process.killing or process.retiring:
            return
        kind = exit_kind(died.exit_code)
        if kind is ExitKind.ENVIRONMENT_FAILED:
            error = ErrorFacts("environment_failed", died.log_tail)
            for item in self.classes.of_environment(process.environment):
                item.closed = error
                self._close_class(item)
            return
        if info is not None and kind is ExitKind.CRASH:
            info.startup_deaths += 1
            most = STARTUP_KILLS_MAX if died.exit_code == -signal.SIGKILL else STARTUP_DEATHS_MAX
            if info.startup_deaths >= most:
                text = (
                    f"{info.startup_deaths} workers died before they could run anything; the last: {describe_death(died, '')}"
                )
                self._emit(CloseQueue(process.queue, ErrorFacts("worker_crashed", text)))

    def _decide(self, task: DeadTaskSeen, process: Process, died: ProcessDied) -> None:
        """What becomes of a task whose worker died."""
        reason = process.killing
        if task.cancelled:
            error = ErrorFacts("cancelled", "")
        elif reason == CANCELLED:  # the cancelled one had ended just before, and this one begun
            self._emit(RequeueTask(task.record, task.uid, use_retry=False))
            return
        elif reason == "placement_group_removed" and task.retries_left:
            error = ErrorFacts("task_group_removed", "")
        elif reason == "owner_died":
            error = ErrorFacts("owner_died", "the process that submitted it has died")
        elif reason.startswith(OUT_OF_MEMORY):
            verdict = self.memory_retries.ended(task, process.alone, self.now_s)
            if isinstance(verdict, Pause):
                self._tell_of_memory(task, process, verdict)
                return
            error = ErrorFacts("out_of_memory", f"task {task.name} failed, {verdict}: {describe_death(died, reason)}")
        elif task.retries_left:
            self._emit(RequeueTask(task.record, task.uid))
            return
        else:
            why = describe_death(died, EXIT_REASONS.get(reason, reason))
            what = f"The worker died while it ran {task.name or 'the task'}: {why}"
            error = ErrorFacts("worker_crashed", what)
        self._emit(FailTask(task.record, task.uid, error))

    def _tell_of_memory(self, task: DeadTaskSeen, process: Process, pause: Pause) -> None:
        """The driver hears of the first time, the second, the fourth, ...: what is tried without end is not silent."""
        if pause.kills & (pause.kills - 1):
            return
        why = process.killing.partition("\n")[0].removesuffix(".")
        often = "for the first time" if pause.kills == 1 else f"{pause.kills} times so far"
        text = f"task {task.name} was ended ({why}), {often}. It is tried again in {pause.length_s:g} s."
        self._emit(Notify(process.root, ErrorEvent("out_of_memory", text)))

    def _owner_died(self, slot: int, orphans: list[DeadTaskSeen], queues: list[int]) -> None:
        """Everything that only the process at ``slot`` wanted ends."""
        error = ErrorFacts("owner_died", "the process that submitted it has died")
        for queue in queues:
            self._emit(CloseQueue(queue, error))
            self._doomed_queues[queue] = error
        for task in orphans:
            self.memory_retries.drop(task.uid)
            self._emit(FailTask(task.record, task.uid, error))
        for process in self.processes.workers():
            if process.owner == slot and process.leased:
                process.owner_gone = True
                if process.running and not process.killing:
                    self._kill(process, "owner_died")
                else:  # or it has begun something since it was last seen
                    self.leases.take_away(process)
        self.actors.owner_died(slot)
        for group in self.groups.all():
            if group.creator == slot and not group.request.detached:
                self.remove_group(group)

    def _on_driver_connected(self, event: DriverConnected) -> None:
        self.drivers[event.slot] = event
        self._ended_drivers.discard(event.slot)

    def _on_driver_gone(self, event: DriverGone) -> None:
        self.drivers.pop(event.slot, None)
        self._ended_drivers.add(event.slot)
        self._owner_died(event.slot, event.orphans, event.owned_queues)

    def _on_actor_ready(self, event: ActorReady) -> None:
        self.actors.ready(event.record, self.now_s)

    def _on_actor_unreferenced(self, event: ActorUnreferenced) -> None:
        self.actors.unreferenced(event.record, event.calls_wait)

    def _on_actor_started(self, event: ActorStarted) -> None:
        actor = self.actors.of_record(event.record)
        if actor is not None:
            self.actors.started(actor)

    def _on_actor_init_failed(self, event: ActorInitFailed) -> None:
        actor = self.actors.of_record(event.record)
        if actor is not None:
            self.actors.init_failed(actor)

    def _on_actor_not_made(self, event: ActorNotMade) -> None:
        self.actors.not_made(event.request, event.message)

    def _on_environment_ready(self, event: EnvironmentReady) -> None:
        self.environments.ready(event.environment)

    def _on_environment_failed(self, event: EnvironmentFailed) -> None:
        for item in self.environments.failed(event.environment, event.message):
            self._close_class(item)
            if item.closed is not None:
                self.actors.class_closed(item.class_id, item.closed)

    def _on_memory_short(self, event: MemoryShort) -> None:
        process = self.processes.at(event.slot)
        if process is not None:
            process.alone = event.alone
            self._kill(process, f"{OUT_OF_MEMORY}: {event.message}")

    def _on_pause_cancelled(self, event: PauseCancelled) -> None:
        if self.memory_retries.drop(event.uid):
            self._emit(FailTask(event.record, event.uid, ErrorFacts("cancelled", "")))

    def _on_request(self, event: RequestMade) -> None:
        self._requests.answer(event, self._emit)

    # ------------------------------------------------------------ for requests

    def pools_of(self, scheduling_class: SchedulingClass) -> list[ResourcePool]:
        if scheduling_class.group_id:
            return self.groups.pools(scheduling_class.group_id, scheduling_class.bundle_index)
        return [self.pool]

    def remove_group(self, group: PlacementGroup) -> None:
        """Kills what runs in the group and fails what waits for it."""
        if group.state == "REMOVED":
            return
        self.groups.remove(group)
        error = ErrorFacts("task_group_removed", f"its placement group was removed ({group.request.group_id.hex()})")
        for item in self.classes.of_group(group.request.group_id):
            item.closed = error
            self._close_class(item)
        for process in self.processes.workers():
            if process.holding is not None and process.holding.pool in group.pools:
                self._kill(process, "placement_group_removed")
        self.actors.end_of_group(group.request.group_id, "actor_group_removed", error.message)
        self._requests.group_settled(group, self._emit)

    def _hopeless_groups(self) -> list[PlacementGroup]:
        """Groups that can never be placed although something waits in them."""
        return [
            group
            for group in self.groups.hopeless()
            if any(item.closed is None for item in self.classes.of_group(group.request.group_id))
        ]

    def _fail_hopeless(self, group: PlacementGroup) -> None:
        """The group stays as it is; its tasks and actors do not wait for it."""
        text = f"placement group {group.request.group_id.hex()} can never be placed: {group.infeasible}"
        for item in self.classes.of_group(group.request.group_id):
            item.closed = ErrorFacts("infeasible", text)
            self._close_class(item)
        self.actors.end_of_group(group.request.group_id, "actor_infeasible", text)

    def exit_of(self, process: Process, died: ProcessDied) -> tuple[str, str]:
        """How the process has ended and why, as the state API tells it. To be asked before ``died`` is handled."""
        reason = process.killing
        actor = self.actors.get(process.actor_id) if process.actor_id else None
        leaving = actor is not None and actor.leaving
        if actor is not None and actor.death is not None:
            return exit_type(died.exit_code, actor.death.kind), actor.death.message
        if not reason and exit_kind(died.exit_code) is ExitKind.INTENDED and (leaving or process.retiring):
            return exit_type(
                died.exit_code, retired=True
            ), NO_HANDLES if leaving else "it was idle, and there were enough others"
        kind = OUT_OF_MEMORY if reason.startswith(OUT_OF_MEMORY) else reason
        return exit_type(died.exit_code, kind), describe_death(died, EXIT_REASONS.get(reason, reason))

    def running_at(self, slot: int) -> Process | None:
        return self.processes.at(slot)

    def kill_process(self, process: Process, reason: str) -> None:
        self._kill(process, reason)

    # ------------------------------------------------------------ helpers

    def _emit(self, instruction: Instruction) -> None:
        if isinstance(instruction, CloseQueue):
            self.leases.queues.pop(instruction.queue, None)  # nobody is leased to it any more
        self._out.append(instruction)

    def _kill(self, process: Process, reason: str) -> None:
        if not process.killing:
            process.killing = reason
            if process.slot:
                self._emit(KillProcess(process.slot, reason))

    def _close_class(self, item: SchedulingClass) -> None:
        for info in list(self.leases.queues.values()):
            if not info.seen.closed and info.seen.class_id == item.class_id:
                self._close_if_doomed(info.seen.queue, info.seen.class_id)

    def _close_if_doomed(self, queue: int, class_id: int) -> None:
        item = self.classes.get(class_id)
        if item is None:
            self._emit(CloseQueue(queue, ErrorFacts("worker_crashed", f"queue {queue} names the unknown class {class_id}")))
        elif item.closed is not None:
            self._emit(CloseQueue(queue, item.closed))

    def _owns_something(self, slot: int) -> bool:
        groups = any(group.creator == slot and group.state != "REMOVED" for group in self.groups.all())
        return groups or self.actors.owns_something(slot)

    def _other_demands(self) -> list[Demand]:
        return [*self.groups.demands(self._group_placed), *self.actors.demands()]

    def _group_placed(self, group: PlacementGroup) -> None:
        group.placed_s = self.now_s - group.since_s
        self._requests.group_settled(group, self._emit)

    def _after(self) -> None:
        """What follows from any event: leases, freed groups and queues, and whether workers must ring."""
        self.groups.settle(self.processes.holdings())
        self.leases.schedule(self.now_s)
        served = {process.queue for process in self.processes.workers() if process.queue}
        for queue in [queue for queue in self._doomed_queues if queue not in served]:
            del self._doomed_queues[queue]
            self._emit(FreeQueue(queue))
        self._end_workers_of_ended_jobs()
        self._ask_for_garbage()
        starving = bool(self.leases.unmet)
        if starving != self.starving:
            self.starving = starving
            self._emit(SetStarving(starving))

    def _end_workers_of_ended_jobs(self) -> None:
        """What their tasks have imported and changed is nothing for others, and what these have started ends with them."""
        for process in self.processes.workers() if self._ended_drivers else ():
            if process.root in self._ended_drivers and process.reusable and process.pid:
                self._kill(process, "its job has ended")

    def _ask_for_garbage(self) -> None:
        """A driver that waits makes no garbage and so collects none, though the last handle of an actor may be in it."""
        if self.now_s < self._garbage_at_s or not self.leases.unmet:
            return
        waits = any(self.now_s - demand.since_s >= GARBAGE_WAIT_S for demand in self.leases.unmet)
        held = any(process.holding and process.holding.allocation.amounts for process in self.processes if process.actor_id)
        if waits and held:
            self._garbage_at_s = self.now_s + GARBAGE_PERIOD_S
            self._emit(Notify(0, CollectGarbage()))


def _equal(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


_HANDLERS: dict[type, Callable[[Brain, Any], None]] = {
    Seen: Brain._on_seen,
    SlotReserved: Brain._on_slot_reserved,
    ProcessForked: Brain._on_process_forked,
    SlotIdle: Brain._on_slot_idle,
    ProcessDied: Brain._on_process_died,
    DriverConnected: Brain._on_driver_connected,
    DriverGone: Brain._on_driver_gone,
    ActorReady: Brain._on_actor_ready,
    ActorUnreferenced: Brain._on_actor_unreferenced,
    ActorStarted: Brain._on_actor_started,
    ActorInitFailed: Brain._on_actor_init_failed,
    ActorNotMade: Brain._on_actor_not_made,
    EnvironmentReady: Brain._on_environment_ready,
    EnvironmentFailed: Brain._on_environment_failed,
    MemoryShort: Brain._on_memory_short,
    PauseCancelled: Brain._on_pause_cancelled,
    RequestMade: Brain._on_request,
}
