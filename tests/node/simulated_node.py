"""A node without processes: the brain's instructions are carried out on plain objects, and its books are checked each time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from shoal.core.native import messages as m
from shoal.node import events as e
from shoal.node.brain import Brain

DRIVER = 1000
"""Slot of the first driver."""


@dataclass
class Task:
    record: int
    owner: int
    retries_left: int = 0
    name: str = "work"
    cancelled: bool = False


@dataclass
class Slot:
    slot: int
    number: int
    actor_id: bytes
    queue: int = 0
    pid: int = 0
    running: Task | None = None
    blocked: bool = False
    executed: int = 0
    record: int = 0
    devices: tuple[Any, ...] = ()
    spec: bytes = b""


@dataclass
class TaskQueue:
    queue: int
    class_id: int
    owner: int
    tasks: deque[Task] = field(default_factory=deque)
    error: e.ErrorFacts | None = None


class SimulatedNode:
    def __init__(self, resources: dict[str, float] | None = None, **keywords: Any) -> None:
        self.brain = Brain(resources or {"CPU": 2.0}, "node-1", **keywords)
        self.now_s = 0.0
        self.slots: dict[int, Slot] = {}
        self.queues: dict[int, TaskQueue] = {}
        self.finished: list[int] = []
        self.failed: dict[int, e.ErrorFacts] = {}
        self.ended_actors: dict[int, e.ErrorFacts] = {}
        self.exiting: set[int] = set()
        self.replies: dict[int, Any] = {}
        self.notified: list[e.Notify] = []
        self.killed: dict[int, str] = {}
        self.preparing: list[tuple[str, int]] = []
        self.starving = False
        self.autofork = True
        self._unforked: deque[Slot] = deque()
        self._next = 1
        self._pending: deque[e.Instruction] = deque()
        self._busy = False
        self.tell(e.DriverConnected(1, DRIVER))

    # ------------------------------------------------------------ what a test does

    def queue(self, class_id: int = 1, owner: int = DRIVER) -> int:
        number = self._number()
        self.queues[number] = TaskQueue(number, class_id, owner)
        return number

    def submit(self, queue: int, count: int = 1, retries: int = 0, look: bool = True) -> list[int]:
        made = []
        for _ in range(count):
            task = Task(self._number(), self.queues[queue].owner, retries)
            made.append(task.record)
            if self.queues[queue].error is not None:
                self.failed[task.record] = self.queues[queue].error
            else:
                self.queues[queue].tasks.append(task)
        if look:
            self.look()
        return made

    def look(self) -> None:
        """Workers take what is there, then the brain sees everything."""
        for _ in range(100):
            before = self._picture()
            self._work()
            self.tell(self.seen())
            if self._picture() == before:
                return
        raise AssertionError("the node does not come to rest")

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.look()

    def finish(self, slot: int) -> None:
        """The worker's task returns."""
        worker = self.slots[slot]
        assert worker.running is not None
        self.finished.append(worker.running.record)
        worker.running, worker.blocked = None, False
        worker.executed += 1
        self.look()

    def finish_all(self, rounds: int = 10_000) -> None:
        """Lets everything run to its end."""
        for _ in range(rounds):
            busy = self.running()
            if not busy:
                if not any(queue.tasks for queue in self.queues.values()):
                    return
                self.later(0.06)
                continue
            self.finish(busy[0].slot)
        raise AssertionError("work is left")

    def block(self, slot: int, blocked: bool = True) -> None:
        self.slots[slot].blocked = blocked
        self.look()

    def die(self, slot: int, exit_code: int = -9, **facts: Any) -> None:
        """The process ends; what it ran and what it had submitted is reported as the daemon reports it."""
        worker = self.slots.pop(slot)
        if worker in self._unforked:
            self._unforked.remove(worker)
        dead = [self._dead(worker.running, worker.queue)] if worker.running else []
        orphans = [
            self._dead(task, queue.queue) for queue in self.queues.values() if queue.owner == slot for task in queue.tasks
        ]
        owned = [queue.queue for queue in self.queues.values() if queue.owner == slot]
        self.tell(e.ProcessDied(slot, worker.pid, exit_code, dead, orphans, owned, **facts))
        self.look()

    def request(self, message: m.Request, slot: int = DRIVER, client: int = 1) -> Any:
        """The answer; None when there is none yet (``replies`` has it later)."""
        number = self._number()
        self.tell(e.RequestMade(client, number, message, slot))
        self.last_request = number
        return self.replies.get(number)

    def register(self, resources: dict[str, float], **fields: Any) -> int:
        answer = self.request(m.RegisterClass(resources, **fields))
        assert isinstance(answer, m.ClassId), answer
        return answer.class_id

    def create_actor(self, name: str = "", ready: bool = True, cpus: float = 0, slot: int = DRIVER, **fields: Any) -> bytes:
        record = self._number()
        actor_id = record.to_bytes(16, "big")
        running = self.register({"CPU": cpus}) if cpus else self.register({})
        message = m.CreateActor(
            record=record,
            uid=record + 7,
            actor_id=actor_id,
            creation_class_id=fields.pop("creation_class_id", 1),
            running_class_id=fields.pop("running_class_id", running),
            mailboxes=[record + 1_000_000],
            spec=b"spec",
            owner_slot=slot,
            name=name,
            class_name="Counter",
            **fields,
        )
        answer = self.request(message, slot)
        assert isinstance(answer, m.Done), answer
        if ready:
            self.tell(e.ActorReady(record))
            self.look()
        return actor_id

    def started(self, actor_id: bytes) -> None:
        """The constructor returns."""
        actor = self.brain.actors.get(actor_id)
        assert actor is not None
        self.tell(e.ActorStarted(actor.request.record))
        self.look()

    def actor(self, actor_id: bytes) -> Any:
        return self.brain.actors.get(actor_id)

    def running(self, queue: int | None = None) -> list[Slot]:
        """Workers that run a task and are not blocked."""
        return [
            worker
            for worker in self.slots.values()
            if worker.running and not worker.blocked and (queue is None or self._queue_of[worker.running.record] == queue)
        ]

    def tell(self, event: e.Event) -> None:
        self.brain.now_s = max(self.brain.now_s, self.now_s)
        self._pending.extend(self.brain.handle(event))
        self.brain.validate_state()
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending:
                self._execute(self._pending.popleft())
        finally:
            self._busy = False
        self.brain.validate_state()

    def seen(self) -> e.Seen:
        queues = [
            e.QueueSeen(queue.queue, len(queue.tasks), queue.class_id, queue.owner, queue.error is not None)
            for queue in self.queues.values()
        ]
        slots = []
        for slot in self.brain.slots_to_watch():
            worker = self.slots[slot]
            record = worker.running.record if worker.running else 0
            slots.append(e.SlotSeen(slot, worker.queue, record, worker.blocked, worker.executed))
        return e.Seen(self.now_s, queues, slots)

    def fork_all(self) -> None:
        """With ``autofork`` off: the forks under way are done."""
        while self._unforked:
            worker = self._unforked.popleft()
            worker.pid = 5000 + worker.slot
            self.tell(e.ProcessForked(worker.slot, worker.pid))
        self.look()

    # ------------------------------------------------------------ what the shell does

    def _execute(self, instruction: e.Instruction) -> None:
        getattr(self, "_do_" + type(instruction).__name__.lower())(instruction)

    def _do_forkprocess(self, item: e.ForkProcess) -> None:
        worker = Slot(self._number(), item.number, item.actor_id, item.queue, record=item.record, devices=item.devices)
        worker.spec = item.spec
        self.slots[worker.slot] = worker
        self.tell(e.SlotReserved(item.number, worker.slot))
        self._unforked.append(worker)
        if self.autofork:
            self._unforked.remove(worker)
            worker.pid = 5000 + worker.slot
            self.tell(e.ProcessForked(worker.slot, worker.pid))

    def _do_prepareenvironment(self, item: e.PrepareEnvironment) -> None:
        self.preparing.append((item.environment, item.root))

    def _do_assign(self, item: e.Assign) -> None:
        assert self.slots[item.slot].queue == 0, "a worker that serves a queue was assigned to another"
        self.slots[item.slot].queue = item.queue

    def _do_unassign(self, item: e.Unassign) -> None:
        worker = self.slots[item.slot]
        worker.queue = 0
        if worker.running is None:
            self.tell(e.SlotIdle(item.slot))

    def _do_setlent(self, item: e.SetLent) -> None:
        assert item.slot in self.slots

    def _do_setstarving(self, item: e.SetStarving) -> None:
        self.starving = item.starving

    def _do_killprocess(self, item: e.KillProcess) -> None:
        self.killed[item.slot] = item.reason

    def _do_retireworker(self, item: e.RetireWorker) -> None:
        self.exiting.add(item.slot)

    def _do_exitactor(self, item: e.ExitActor) -> None:
        self.exiting.add(item.slot)

    def _do_interruptprocess(self, item: e.InterruptProcess) -> None:
        assert item.slot in self.slots

    def _do_requeuetask(self, item: e.RequeueTask) -> None:
        task, queue = self._requeued[item.record]
        self.queues[queue].tasks.appendleft(Task(task.record, task.owner, max(-1, task.retries_left - int(item.use_retry))))

    def _do_failtask(self, item: e.FailTask) -> None:
        assert item.record not in self.finished
        self.failed.setdefault(item.record, item.error)
        for queue in self.queues.values():
            queue.tasks = deque(task for task in queue.tasks if task.record != item.record)

    def _do_closequeue(self, item: e.CloseQueue) -> None:
        queue = self.queues[item.queue]
        queue.error = queue.error or item.error
        for task in queue.tasks:
            self.failed[task.record] = item.error
        queue.tasks.clear()

    def _do_freequeue(self, item: e.FreeQueue) -> None:
        assert not any(worker.queue == item.queue for worker in self.slots.values())
        del self.queues[item.queue]

    def _do_holdactor(self, item: e.HoldActor) -> None:
        assert item.record

    def _do_endactor(self, item: e.EndActor) -> None:
        assert item.record not in self.ended_actors
        self.ended_actors[item.record] = item.error

    def _do_reply(self, item: e.Reply) -> None:
        assert item.request_id not in self.replies, "a request was answered twice"
        self.replies[item.request_id] = item.message

    def _do_notify(self, item: e.Notify) -> None:
        self.notified.append(item)

    # ------------------------------------------------------------ helpers

    _requeued: dict[int, tuple[Task, int]]

    def _dead(self, task: Task, queue: int) -> e.DeadTaskSeen:
        self.__dict__.setdefault("_requeued", {})[task.record] = (task, self._queue_of.get(task.record, queue))
        return e.DeadTaskSeen(task.record, task.record, queue, task.retries_left, task.name, task.owner, task.cancelled, False)

    @property
    def _queue_of(self) -> dict[int, int]:
        return self.__dict__.setdefault("_taken_from", {})  # type: ignore[no-any-return]

    def _work(self) -> None:
        for worker in list(self.slots.values()):
            queue = self.queues.get(worker.queue)
            if worker.pid and queue is not None and worker.running is None and queue.tasks:
                worker.running = queue.tasks.popleft()
                self._queue_of[worker.running.record] = queue.queue

    def _picture(self) -> tuple[Any, ...]:
        slots = tuple((s.slot, s.queue, s.pid, s.running.record if s.running else 0, s.blocked) for s in self.slots.values())
        return slots, tuple((q.queue, len(q.tasks)) for q in self.queues.values()), len(self.failed), len(self.replies)

    def _number(self) -> int:
        self._next += 1
        return self._next
