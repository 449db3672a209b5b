"""The lives of actors: waiting for arguments, waiting for resources, being constructed, alive, restarting, dead.

``DEPENDENCIES_UNREADY -> PENDING_CREATION -> ALIVE <-> RESTARTING -> DEAD``

An actor holds the resources of its creation class until its constructor has returned, then those of its running class. It dies
for good when it leaves by itself, is killed, its constructor raises, its owner dies (unless detached), its last handle is
gone, or its process dies with no restart left. Its name is free and its calls fail from then on.

Who dies, and what is true then: the process of an actor dies at any point -> ``process_died`` decides between a restart and
the end, and what becomes of the calls it ran; the owner dies before the constructor ran -> the actor is never started."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shoal.core.native.messages import ActorInfo, CreateActor, Failure
from shoal.node.events import (
    EndActor,
    ErrorFacts,
    ExitActor,
    FailTask,
    ForkProcess,
    HoldActor,
    Instruction,
    KillProcess,
    ProcessDied,
    RequeueTask,
)
from shoal.node.exit_status import ExitKind, describe_death, exit_kind
from shoal.node.leases import Demand, PoolsOf
from shoal.node.processes import Holding, Process, ProcessTable
from shoal.node.resources import CPU, UNITS
from shoal.node.scheduling_classes import ClassTable, Refused

DEAD_KEPT = 1000
"""Dead actors whose last facts can be listed; older ones are forgotten."""

NO_HANDLES = "all handles to it are gone"


class Actor(msgspec.Struct, eq=False):
    request: CreateActor
    root: int
    since_s: float
    state: str = "DEPENDENCIES_UNREADY"
    restarts: int = 0
    process: Process | None = None
    constructed: bool = False  # the constructor has returned at least once
    killed: ErrorFacts | None = None  # why its process is being ended for good
    death: ErrorFacts | None = None
    unreferenced: bool = False
    leaving: bool = False  # the call that ends it is in its mailbox, behind the others
    pid: int = 0
    waiters: list[tuple[int, int]] = msgspec.field(default_factory=list)

    @property
    def actor_id(self) -> bytes:
        return self.request.actor_id

    def may_restart(self) -> bool:
        limit = self.request.max_restarts
        return limit < 0 or self.restarts < limit

    def info(self) -> ActorInfo:
        ask = self.request
        pid = self.process.pid if self.process else 0
        cause = self.death.message if self.death else ""
        return ActorInfo(
            ask.actor_id,
            ask.record,
            ask.uid,
            self.state,
            ask.name,
            ask.namespace,
            ask.class_name,
            pid,
            self.restarts,
            ask.max_restarts,
            ask.detached,
            list(ask.mailboxes),
            ask.handle,
            cause,
        )


class Actors:
    """All actors of the node."""

    def __init__(
        self, processes: ProcessTable, classes: ClassTable, pools_of: PoolsOf, emit: Callable[[Instruction], None]
    ) -> None:
        self._processes = processes
        self._classes = classes
        self._pools_of = pools_of
        self._emit = emit
        self._actors: dict[bytes, Actor] = {}
        self._by_record: dict[int, Actor] = {}
        self._names: dict[tuple[str, str], Actor] = {}
        self._waiting: dict[int, dict[bytes, Actor]] = {}  # by creation class: ready, no process yet
        self._dead: dict[bytes, Actor] = {}
        self.starting: set[int] = set()  # records of actors whose constructor runs
        self._early: dict[int, set[str]] = {}  # what happened to a record before its CreateActor was read

    # ------------------------------------------------------------ requests

    def create(self, request: CreateActor, root: int, now_s: float) -> None:
        """Raises Refused."""
        if request.actor_id in self._actors:
            raise Refused("invalid", f"actor {request.actor_id.hex()} exists already")
        creation, running = self._classes.get(request.creation_class_id), self._classes.get(request.running_class_id)
        if creation is None or running is None:
            raise Refused("invalid", f"unknown class {request.creation_class_id} or {request.running_class_id}")
        if any(amount > creation.amounts.get(name, 0) for name, amount in running.amounts.items()):
            raise Refused("invalid", "a running actor may not need more than its creation")
        key = (request.namespace, request.name)
        if request.name and key in self._names:
            holder = self._names[key]
            message = f"an actor named {request.name!r} exists already in namespace {request.namespace!r}"
            raise Refused("name_taken", message, {"actor_id": holder.actor_id.hex()}, holder.request.handle)
        actor = Actor(request, root, now_s)
        self._actors[request.actor_id] = actor
        self._by_record[request.record] = actor
        if request.name:
            self._names[key] = actor
        if request.detached:
            self._emit(HoldActor(request.record, request.uid))
        if creation.closed is not None:
            kind = creation.closed.kind
            if kind in ("task_group_removed", "infeasible"):
                kind = f"actor_{kind.removeprefix('task_')}"
            self.end(actor, ErrorFacts(kind, creation.closed.message, actor.actor_id))
            return
        early = self._early.pop(request.record, set())
        if "ready" in early:
            self.ready(request.record, now_s)
        if "unreferenced" in early:
            # Whether it was called before it was known here cannot be told.
            self.unreferenced(request.record, calls_wait=True)

    def not_made(self, request: CreateActor, reason: str) -> None:
        """``create`` refused or failed half-way: whoever has calls for the actor is told."""
        actor = self._actors.get(request.actor_id)
        if actor is None:
            self._early.pop(request.record, None)
            facts = (("class_name", request.class_name), ("actor_id", request.actor_id.hex()))
            error = ErrorFacts("actor_died", f"it could not be made: {reason}", request.actor_id, facts)
            self._emit(EndActor(request.record, request.uid, tuple(request.mailboxes), error))
        elif actor.request is request:
            self.end(actor, self._error(actor, "actor_died", f"it could not be made: {reason}"))

    def get(self, actor_id: bytes) -> Actor | None:
        return self._actors.get(actor_id) or self._dead.get(actor_id)

    def of_record(self, record: int) -> Actor | None:
        return self._by_record.get(record)

    def named(self, name: str, namespace: str) -> Actor | None:
        return self._names.get((namespace, name))

    def names(self, namespace: str | None) -> list[tuple[str, str]]:
        return [key for key in self._names if namespace is None or key[0] == namespace]

    def living(self) -> list[Actor]:
        return list(self._actors.values())

    def dead(self) -> list[Actor]:
        return list(self._dead.values())

    def kill(self, actor: Actor, no_restart: bool) -> None:
        """What ``kill`` asks for. A restart that is left is used up when ``no_restart`` is False, also that of an actor that
        waits for its process. One that waits for its arguments is left alone."""
        if actor.state == "DEAD":
            return
        if no_restart or not actor.may_restart():
            self.end(actor, self._error(actor, "actor_killed", "it was killed by `ray.kill`"))
        elif actor.process is not None:
            self._kill_process(actor.process, "killed by `ray.kill` with no_restart=False")
        elif actor.state != "DEPENDENCIES_UNREADY":
            actor.restarts += 1

    # ------------------------------------------------------------ life

    def ready(self, record: int, now_s: float) -> None:
        """The arguments of its constructor are there."""
        actor = self._by_record.get(record)
        if actor is None:
            self._early.setdefault(record, set()).add("ready")
        elif actor.state == "DEPENDENCIES_UNREADY":
            actor.state = "PENDING_CREATION"
            self._wait(actor, now_s)

    def demands(self) -> list[Demand]:
        """One demand for each creation class: its oldest actor without a process."""
        demands = []
        starting = sum(1 for process in self._processes if not process.pid)
        for class_id, waiting in self._waiting.items():
            if not waiting or starting >= 8:
                continue
            scheduling_class = self._classes[class_id]
            if scheduling_class.preparing:
                continue
            actor = next(iter(waiting.values()))
            pools = self._pools_of(scheduling_class)
            demand = Demand(scheduling_class.amounts, pools, actor.request.owner_slot, actor.root, count=len(waiting))
            demand.since_s = actor.since_s
            demand.class_id, demand.name = class_id, f"actor {actor.request.name or actor.request.class_name}"
            demand.start = lambda holding, actor=actor: self._start(actor, holding)
            demands.append(demand)
        return demands

    def started(self, actor: Actor) -> None:
        """Its constructor has returned: it keeps only what its running class needs."""
        self.starting.discard(actor.request.record)
        if actor.process is None or actor.state == "DEAD":
            return
        actor.state, actor.constructed = "ALIVE", True
        actor.process.blocked = False  # the constructor may have been; the actor is looked at only while it holds a CPU
        running = self._classes[actor.request.running_class_id]
        holding = actor.process.holding
        if holding is not None:
            if holding.allocation.cpu_lent:
                holding.pool.take_back_cpu(holding.allocation)
            holding.pool.shrink(holding.allocation, running.amounts)
        if actor.unreferenced:
            self.unreferenced(actor.request.record)

    def init_failed(self, actor: Actor) -> None:
        """Its constructor raised; the error is in its record."""
        record = actor.request.record
        self.starting.discard(record)
        if actor.state != "DEAD":
            self.end(actor, self._error(actor, "actor_init_failed", "its constructor raised an error", record))

    def unreferenced(self, record: int, calls_wait: bool = False) -> None:
        """The last handle is gone: a running actor leaves by itself, one that waits for its start is dropped unless calls
        wait."""
        actor = self._by_record.get(record)
        if actor is None:
            self._early.setdefault(record, set()).add("unreferenced")
            return
        actor.unreferenced = True
        if actor.killed is not None or actor.leaving:
            return
        process = actor.process
        error = self._error(actor, "actor_died", NO_HANDLES)
        if process is None:
            if actor.state != "DEAD" and not calls_wait:
                self.end(actor, error)
        elif actor.state == "ALIVE" and process.slot:
            actor.leaving = True
            self._emit(ExitActor(process.slot, tuple(actor.request.mailboxes), error))

    def end(self, actor: Actor, error: ErrorFacts) -> None:
        """It is dead from now on; its process, if any, is killed."""
        if actor.state == "DEAD":
            return
        actor.death = error
        actor.state = "DEAD"
        ask = actor.request
        self.starting.discard(ask.record)
        self._actors.pop(actor.actor_id, None)
        if self._by_record.get(ask.record) is actor:
            del self._by_record[ask.record]
        if self._names.get((ask.namespace, ask.name)) is actor:
            del self._names[ask.namespace, ask.name]
        self._waiting.get(ask.creation_class_id, {}).pop(actor.actor_id, None)
        self._dead[actor.actor_id] = actor
        while len(self._dead) > DEAD_KEPT:
            del self._dead[next(iter(self._dead))]
        slot = actor.process.slot if actor.process is not None else 0
        self._emit(EndActor(ask.record, ask.uid, tuple(ask.mailboxes), error, slot))
        if actor.process is not None:
            self._kill_process(actor.process, error.message)

    def process_died(self, process: Process, died: ProcessDied, now_s: float) -> None:
        """Its process is gone and its resources are free: restart, or the end; and what becomes of the calls that ran."""
        actor = self._actors.get(process.actor_id)
        if actor is None or actor.process is not process:
            dead = self._dead.get(process.actor_id)
            if dead is not None and dead.process is process:
                dead.process = None
            death = dead.death if dead and dead.death else ErrorFacts("actor_died", "it is dead", process.actor_id)
            self._fail_calls(died, death, process.actor_id)
            return
        actor.process = None
        self.starting.discard(actor.request.record)
        error = self._why(actor, process, died)
        if error is not None:
            self._fail_calls(died, error, process.actor_id)
            self.end(actor, error)
            return
        actor.restarts += 1
        actor.leaving = False
        actor.state = "RESTARTING"
        self._retry_calls(actor, died, process.killing)
        self._wait(actor, now_s)

    def owner_died(self, slot: int) -> None:
        """Actors that live only as long as the process that made them."""
        for actor in list(self._actors.values()):
            if actor.request.owner_slot == slot and not actor.request.detached:
                self.end(actor, self._error(actor, "actor_died", "its owner has died"))

    def end_of_group(self, group_id: bytes, kind: str, message: str) -> None:
        """Ends every actor of the placement group: one that has run has died, one that was to run there fails with ``kind``."""
        for actor in list(self._actors.values()):
            if self._classes[actor.request.creation_class_id].group_id == group_id:
                self.end(actor, self._error(actor, "actor_died" if actor.constructed else kind, message))

    def class_closed(self, class_id: int, error: ErrorFacts) -> None:
        """Nothing can be started under the creation class any more: who waits for that ends."""
        for actor in list(self._actors.values()):
            if actor.request.creation_class_id == class_id and actor.process is None:
                self.end(actor, error)

    def owns_something(self, slot: int) -> bool:
        return any(actor.request.owner_slot == slot and not actor.request.detached for actor in self._actors.values())

    # ------------------------------------------------------------ helpers

    def _wait(self, actor: Actor, now_s: float) -> None:
        actor.since_s = now_s
        self._waiting.setdefault(actor.request.creation_class_id, {})[actor.actor_id] = actor

    def _start(self, actor: Actor, holding: Holding) -> None:
        ask = actor.request
        self._waiting[ask.creation_class_id].pop(actor.actor_id, None)
        scheduling_class = self._classes[ask.creation_class_id]
        devices = holding.allocation.device_ids()
        process = self._processes.new(scheduling_class.environment, devices, ask.actor_id)
        process.holding, process.owner, process.root = holding, ask.owner_slot, actor.root
        actor.process = process
        self.starting.add(ask.record)
        cpus = scheduling_class.amounts.get(CPU, 0) / UNITS
        name = ask.name or ask.class_name
        self._emit(ForkProcess(process.number, 0, process.environment, devices, cpus, ask.actor_id, ask.spec, name, ask.record))

    def _kill_process(self, process: Process, reason: str) -> None:
        if not process.killing:
            process.killing = reason
            if process.slot:
                self._emit(KillProcess(process.slot, reason))

    def _why(self, actor: Actor, process: Process, died: ProcessDied) -> ErrorFacts | None:
        """Why it is dead for good; None: it is restarted."""
        if actor.killed is not None:
            return actor.killed
        kind = exit_kind(died.exit_code)
        if kind is ExitKind.INTENDED:
            text = NO_HANDLES if actor.leaving else "it left by itself: exit_actor() or sys.exit(0) was called"
            return self._error(actor, "actor_died", text)
        if kind is ExitKind.CONSTRUCTOR_FAILED:
            return self._error(actor, "actor_init_failed", "its constructor raised an error", actor.request.record)
        if kind is ExitKind.ENVIRONMENT_FAILED:
            return self._error(actor, "environment_failed", died.log_tail)
        if actor.may_restart() and (not actor.unreferenced or died.calls_wait):
            return None
        reason = process.killing or ""
        kind_word = "actor_out_of_memory" if reason.startswith("out of memory") else "actor_died"
        return self._error(actor, kind_word, describe_death(died, reason))

    def _retry_calls(self, actor: Actor, died: ProcessDied, reason: str) -> None:
        for task in died.dead_tasks:
            if task.record == actor.request.record:
                continue  # its constructor: the restart runs it again
            if task.retries_left and not task.cancelled:
                self._emit(RequeueTask(task.record, task.uid))
            else:
                kind = "cancelled" if task.cancelled else "actor_unavailable"
                text = f"it is being restarted ({describe_death(died, reason)})"
                self._emit(FailTask(task.record, task.uid, ErrorFacts(kind, text, actor.actor_id)))

    def _fail_calls(self, died: ProcessDied, error: ErrorFacts, actor_id: bytes) -> None:
        for task in died.dead_tasks:
            self._emit(FailTask(task.record, task.uid, ErrorFacts("cancelled", "", actor_id) if task.cancelled else error))

    def _error(self, actor: Actor, kind: str, message: str, cause_record: int = 0) -> ErrorFacts:
        ask = actor.request
        facts = [("class_name", ask.class_name), ("actor_id", ask.actor_id.hex())]
        if actor.process is not None and actor.process.pid:
            facts.append(("pid", str(actor.process.pid)))
        if ask.name:
            facts += [("name", ask.name), ("namespace", ask.namespace)]
        return ErrorFacts(kind, message, ask.actor_id, tuple(facts), cause_record)


def name_taken(refused: Refused) -> Failure:
    return Failure(refused.kind, str(refused), refused.facts, refused.handle)
