"""The shell around the brain: sockets, zygotes, the doorbell, timers. It decides nothing.

Who dies, and what is true then: the embedding driver -> its socket closes and the node ends; another driver or a worker's
connection -> only that connection ends here, a worker's death is told by its zygote; the root zygote -> its workers are dead,
what is left of them is killed by its tag, their slots are repaired and a new zygote is started; this process -> the zygote
ends everything. SIGTERM and SIGINT end the node in order. An error of ours while we answer a request fails that request only;
anywhere else it ends this process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native import messages as m
from shoal.core.native import session_folder
from shoal.core.native.reconstruction import LOST, reconstruct
from shoal.core.native.spill_folders import SpillFolders
from shoal.node import leftovers
from shoal.node.arena_view import dead_tasks, look, task_facts
from shoal.node.brain import Brain
from shoal.node.clients import Clients
from shoal.node.event_loop import EventLoop, Timer
from shoal.node.events import (
    ActorInitFailed,
    ActorNotMade,
    ActorReady,
    ActorStarted,
    ActorUnreferenced,
    DriverGone,
    Event,
    MemoryShort,
    PauseCancelled,
    ProcessDied,
    ProcessForked,
    RequestMade,
)
from shoal.node.executor import Executor
from shoal.node.exit_status import ExitKind, describe_death, exit_kind
from shoal.node.hang_watch import HangWatch
from shoal.node.journal import Journal
from shoal.node.memory_guard import MemoryGuard
from shoal.node.process_control import become_subreaper, die_with_parent
from shoal.node.state_lists import StateLists, worker_id
from shoal.node.worker_logs import WorkerLogs
from shoal.node.zygotes import Zygotes

if TYPE_CHECKING:
    from shoal.node.preparations import Interpreter, Preparations

FRUITLESS_PAUSE_S = 0.001
"""The doorbell is listened to again so long after a ring that changed nothing: rings cannot eat a core."""
TRIM_IDLE_S = 1.0
WORKERS_END_S = 2.0


class Daemon:
    """``first``: slots of workers that the zygote forks by itself, with the reading ends of their pipes; ``first_queue``: what
    they serve already."""

    def __init__(
        self,
        config: dict[str, Any],
        arena_fd: int,
        zygote_link: socket.socket,
        zygote_pid: int,
        driver: socket.socket | None,
        driver_slot: int,
        server: socket.socket,
        first: list[tuple[int, int, int]],
        first_queue: int = 0,
    ) -> None:
        self.config = config
        self._server = server
        self.loop = EventLoop()
        self.embedded = driver is not None
        from shoal.core.labels import matches

        self.journal = Journal(time.time)
        self.brain = Brain(config["resources"], config["node_id"], config["labels"], matches, config["cores"])
        self.logs = WorkerLogs(self.loop, os.path.join(config["session_folder"], "logs"), self._on_log_lines)
        self.zygotes = Zygotes(self, arena_fd, zygote_link, zygote_pid)
        self._preparations: Preparations | None = None
        self.clients = Clients(self, arena_fd, driver, driver_slot)
        self.executor = Executor(self)
        self.lists = StateLists(self)
        self.hangs = HangWatch(self)
        self.guard = MemoryGuard.from_environment(os.environ)
        self.brain.memory_retries.limit = self.guard.task_retries
        self._lock = session_folder.lock(config["session_folder"])
        self._ended: int | None = None
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._trimming = True
        self._follow_s = 0.0
        self._guard_at = 0.0
        self._handled = threading.Semaphore(0)
        self._fruitless = False
        self._spill_folders = SpillFolders(config["spill_folders"])
        self._warned: set[tuple[int, str]] = set()  # drivers and the requests they were told of
        self._bell_read, self._bell_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number, (slot, out, err) in zip(self.brain.start_workers(len(first), first_queue, driver_slot), first, strict=True):
            self.executor.adopt_first(number, slot, out, err)
        if self.embedded:
            from shoal.node.events import DriverConnected

            self.handle(DriverConnected(self.clients.embedded_client, driver_slot))

    def run(self) -> int:
        """Until the node ends; the exit status."""
        become_subreaper()
        parent = self.config.get("parent_pid", 0)
        if self.embedded and parent:
            die_with_parent(signal.SIGTERM, parent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(self._bell_write, warn_on_full_buffer=False)
        self.clients.serve(self._server)
        self.loop.add_reader(self._bell_read, self._on_bell)
        threading.Thread(target=self._listen_to_doorbell, name="doorbell", daemon=True).start()
        self.look()
        while self._ended is None:
            self.loop.run_once()
        return self._ended

    @property
    def preparations(self) -> Preparations:
        """Made when it is first needed: most sessions install nothing."""
        if self._preparations is None:
            from shoal.node.preparations import Preparations

            self._preparations = Preparations(self)
        return self._preparations

    def interpreter_of(self, environment: str) -> Interpreter | None:
        """What processes in the environment run under; None: as this one."""
        return self._preparations.interpreter_of(environment) if self._preparations is not None else None

    # ------------------------------------------------------------ events

    def handle(self, event: Event) -> bool:
        """Tells the brain and carries out what it says; whether there was anything."""
        starving = self.brain.starving
        instructions = self.brain.handle(event)
        self.executor.execute(instructions)
        if self.brain.starving and not starving:
            self._schedule_next_look(True)  # who blocked before the workers were told to ring has to be seen
        return bool(instructions)

    def look(self) -> bool:
        """Looks at the arena and lets the brain decide; whether anything came of it."""
        changed = self._take_control_records()
        changed |= self._check_constructors()
        self._tell_of_spill_folders()
        starving = self.brain.starving
        changed |= self.handle(look(self.brain, self.loop.time()))
        if self.brain.starving and not starving:
            # Who blocked before the workers were told to ring is seen now.
            changed |= self.handle(look(self.brain, self.loop.time()))
        self.hangs.tell_of_shortages(self.loop.time())
        self._schedule_next_look(changed)
        return changed

    def _take_control_records(self) -> bool:
        changed = False
        while True:
            record, ready, unreferenced = _kernel.pop_control()
            if not record:
                return changed
            changed = True
            if ready:
                self.handle(ActorReady(record))
            if unreferenced:
                self.executor.unreferenced.add(record)
                actor = self.brain.actors.of_record(record)
                calls_wait = actor is not None and any(map(_kernel.queue_length, actor.request.mailboxes))
                self.handle(ActorUnreferenced(record, calls_wait))

    def _check_constructors(self) -> bool:
        changed = False
        for record in list(self.brain.actors.starting):
            actor = self.brain.actors.of_record(record)
            if actor is None or actor.constructed or _kernel.record_state(record) != _kernel.SEALED:
                continue
            changed = True
            self.handle(ActorInitFailed(record) if _kernel.record_is_error(record) else ActorStarted(record))
        return changed

    def on_forked(self, slot: int, pid: int, generation: int) -> None:
        self.logs.set_pid(slot, pid)
        self.journal.worker_began(slot)
        self.handle(ProcessForked(slot, pid, generation))

    def on_died(self, slot: int, pid: int, exit_code: int, peak_bytes: int) -> None:
        """The process is reaped: what it was doing is repaired, then the brain decides."""
        self._take_control_records()
        log_tail = self.logs.finish(slot)
        orphans = dead_tasks(_kernel.orphaned_tasks(slot)) if _kernel.slot_submitted(slot) else []
        queues = [queue.queue for queue in _kernel.task_queues() if queue.owner == slot]
        dead = dead_tasks(_kernel.repair_slot(slot))
        self.brain.now_s = self.loop.time()
        calls_wait = self._calls_wait(slot) or any(task.is_actor_call and task.retries_left for task in dead)
        died = ProcessDied(slot, pid, exit_code, dead, orphans, queues, peak_bytes, log_tail, calls_wait)
        self._note_death(died)
        self.handle(died)
        # The empty ones that the brain was not told of. Not before: what it ran goes back to its queue, perhaps its own.
        self.executor.process_gone(slot)
        if self._ended is None:
            self.look()

    def _note_death(self, died: ProcessDied) -> None:
        process = self.brain.processes.at(died.slot)
        if process is None:
            return
        word, detail = self.brain.exit_of(process, died)
        tasks = tuple(task.uid for task in died.dead_tasks)
        self.journal.worker_ended(worker_id(process), died.slot, died.pid, not process.is_worker, word, detail, tasks)
        if exit_kind(died.exit_code) in (ExitKind.INTENDED, ExitKind.RECYCLE):
            return
        facts = {"pid": str(died.pid), **({"actor_id": process.actor_id.hex()} if process.actor_id else {})}
        severity = "INFO" if process.killing else "ERROR"
        self.journal.note(severity, "WORKER", describe_death(died, process.killing), **facts)

    def _calls_wait(self, slot: int) -> bool:
        """Whether the actor in this slot has calls besides the one that ends it."""
        process = self.brain.processes.at(slot)
        actor = self.brain.actors.get(process.actor_id) if process is not None and process.actor_id else None
        if actor is None:
            return False
        return sum(map(_kernel.queue_length, actor.request.mailboxes)) > int(actor.leaving)

    def on_driver_gone(self, client: int, slot: int) -> None:
        if self.embedded and client == self.clients.embedded_client:
            self.end(0)
            return
        self.journal.job_ended(slot)
        self._warned = {(root, kind) for root, kind in self._warned if root != slot}
        self._take_control_records()
        orphans = dead_tasks(_kernel.orphaned_tasks(slot))
        queues = [queue.queue for queue in _kernel.task_queues() if queue.owner == slot]
        _kernel.repair_slot(slot)
        self.handle(DriverGone(client, slot, orphans, queues))
        self.look()

    def on_request(self, client: int, slot: int, request_id: int, message: m.Request) -> None:
        """What needs the arena or the processes is answered here, the rest by the brain."""
        if isinstance(message, m.Shutdown):
            self.end(0, reply_to=(client, request_id))
        elif isinstance(message, m.PreloadModules):
            self.zygotes.preload(message.modules)
            self.clients.reply(client, request_id, m.Done())
        elif isinstance(message, (m.KillWorkerRunning, m.InterruptTask)):
            self._end_task(message)
            self.clients.reply(client, request_id, m.Done())
        elif isinstance(message, m.StillWaiting):
            self.clients.reply(client, request_id, self.hangs.still_waiting(slot, message, self.loop.time()))
        elif isinstance(message, m.Reconstruct):
            why_not = reconstruct(message.record, message.uid)
            self.clients.reply(client, request_id, m.Failure(LOST, why_not) if why_not else m.Done())
        elif isinstance(message, m.ListState):
            self._check_constructors()  # a call of an actor may have been answered before it is seen to be alive
            self.clients.reply(client, request_id, self.lists.rows(message.kind, message.limit))
        else:
            if isinstance(message, m.KillActor):
                self._take_control_records()
            if isinstance(message, m.GetWorkerInfo):
                self._check_constructors()  # an actor that has just been constructed holds less than while it was
            if isinstance(message, m.AvailableResources):
                self.handle(look(self.brain, self.loop.time(), every_slot=True))
            if isinstance(message, m.CreateActor):
                self.brain.now_s = self.loop.time()
            self.handle(RequestMade(client, request_id, message, slot))
            self._schedule_next_look(False)

    def request_failed(self, client: int, slot: int, request_id: int, message: m.Request, error: Exception) -> None:
        """A mistake of ours in answering a request costs whoever asked this one answer, and nobody anything else.

        The log gets the traceback, and the driver behind the asker one warning for each kind of request."""
        kind, root = type(message).__name__, self.brain.processes.root_of(slot)
        with contextlib.suppress(OSError):  # a disk that is full
            traceback.print_exception(error)
        text = f"the node daemon failed to carry out {kind}: {type(error).__name__}: {error}"
        self.journal.told("daemon", text)
        if (root, kind) not in self._warned:
            self._warned.add((root, kind))
            self.clients.notify(
                root, m.ErrorEvent("daemon", f"{text}\n(the traceback is in the daemon's log; the node goes on)")
            )
        self.clients.reply(client, request_id, m.Failure(m.INTERNAL, text))  # last: whoever has the answer can see the warning
        if isinstance(message, m.CreateActor):
            self.handle(ActorNotMade(message, text))
        if self._ended is None:
            self.look()  # what the request had brought about before it failed is carried out

    def _end_task(self, message: m.KillWorkerRunning | m.InterruptTask) -> None:
        slot = _kernel.running_slot(message.record, message.uid)
        process = self.brain.processes.at(slot) if slot else None
        if not slot:
            self.handle(PauseCancelled(message.record, message.uid))
        if process is None:
            return
        pid = process.pid or _kernel.slot_state(slot).pid  # a first worker executes before its zygote tells of it
        if isinstance(message, m.InterruptTask):
            self.zygotes.signal(pid, process.generation, signal.SIGINT, group=False)
        else:
            self.brain.kill_process(process, message.reason)
            self.zygotes.signal(pid, process.generation, signal.SIGKILL)

    # ------------------------------------------------------------ doorbell and time

    def _listen_to_doorbell(self) -> None:
        """The only other thread: turns the arena's futex into a byte for the loop."""
        while True:
            _kernel.wait_doorbell(-1.0)
            try:
                os.write(self._bell_write, b"d")
            except BlockingIOError:
                continue  # the loop has enough to read already
            self._handled.acquire()
            if self._fruitless:
                time.sleep(FRUITLESS_PAUSE_S)

    def _on_bell(self) -> None:
        rung = b"d" in os.read(self._bell_read, 4096)
        if rung and self._ended is None:
            self._trimming = True
            self._fruitless = not self.look()
            self._handled.release()

    def _tell_of_spill_folders(self) -> None:
        for text in self._spill_folders.news():
            self.journal.told("spill_folder", text)
            for root in self.brain.drivers:
                self.clients.notify(root, m.ErrorEvent("spill_folder", text))

    def _schedule_next_look(self, changed: bool) -> None:
        """After something changed the arena is looked at again soon: a queue that grows does not ring twice."""
        due_s = self.brain.wants_tick_s()
        if changed:
            self._follow_s = 0.001
        elif self._follow_s:
            self._follow_s = self._follow_s * 2 if self._follow_s < 0.1 else 0.0
        if self._follow_s:
            due_s = self._follow_s if due_s is None else min(due_s, self._follow_s)
        if due_s is None and self._trimming:
            due_s = TRIM_IDLE_S
        if self.guard.enabled and len(self.brain.processes) and (due_s is not None or self.brain.actors.living()):
            guard_s = max(0.0, self._guard_at - self.loop.time())
            due_s = guard_s if due_s is None else min(due_s, guard_s)
        if due_s is None:
            return
        when_s = self.loop.time() + due_s
        if self._timer is not None and self._timer.callback is not None:
            if self._timer_at <= when_s:
                return
            self._timer.cancel()
        self._timer_at = when_s
        self._timer = self.loop.call_at(when_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._ended is not None:
            return
        now_s = self.loop.time()
        if self.guard.enabled and now_s >= self._guard_at:
            self._guard_memory(now_s)
        if self._trimming and not self._follow_s:
            freed = _kernel.trim(TRIM_IDLE_S)
            self._trimming = bool(freed) or _kernel.memory_stats()["free_warm_bytes"] > 0
        self.look()

    def _guard_memory(self, now_s: float) -> None:
        verdict = self.guard.check(look(self.brain, now_s, every_slot=True).slots, self.brain, task_facts)
        self._guard_at = now_s + verdict.next_check_s
        if verdict.victim_slot:
            self.handle(MemoryShort(verdict.victim_slot, verdict.message, verdict.alone))

    # ------------------------------------------------------------ output and the end

    def _on_log_lines(self, slot: int, is_error: bool, lines: list[str], name: str) -> None:
        process = self.brain.processes.at(slot)
        if process is not None:
            actor = self.brain.actors.get(process.actor_id) if process.actor_id else None
            name = name or ((actor.request.name or actor.request.class_name) if actor else "")
            pid = process.pid or _kernel.slot_state(slot).pid  # a first worker prints before its zygote tells of it
            self.clients.notify(process.root, m.LogLines(pid, slot, name, is_error, lines))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.loop.call_later(0, lambda: self.end(0))

    def zygote_lost(self, dead: list[tuple[int, int]]) -> None:
        """The processes that die with a zygote: (slot, pid; 0: not told yet). Their slots are repaired once they are gone.

        They and what they leave come to us (or to the root zygote), since we are a subreaper."""
        pids = {slot: pid or _kernel.slot_state(slot).pid for slot, pid in dead}
        spare = {os.getpid(), *self.child_pids()}
        tags = {f"{slot}:{pid}" for slot, pid in pids.items()}
        leftovers.kill_session(self.config["session_id"], spare, workers=tags)
        leftovers.end_processes([pid for pid in pids.values() if pid], WORKERS_END_S)
        leftovers.kill_strangers(spare, set())
        for slot, pid in pids.items():
            self.on_died(slot, pid, -signal.SIGKILL, 0)

    def child_pids(self) -> set[int]:
        """What this process has started and waits for itself."""
        preparing = self._preparations.pids() if self._preparations is not None else []
        return {*self.zygotes.pids(), *preparing}

    def end(self, status: int, reply_to: tuple[int, int] | None = None) -> None:
        """Ends every process of the node, forwards their last words, removes the session folder."""
        if self._ended is not None:
            return
        self._ended = status
        if self._preparations is not None:
            self._preparations.end()
        self.zygotes.end()
        leftovers.kill_session(self.config["session_id"], spare={os.getpid()})
        leftovers.kill_strangers(set(), set())
        self.logs.drain()
        if reply_to is not None:
            self.clients.reply(*reply_to, m.Done())
        self.clients.close()
        session_folder.remove(self.config["session_folder"], self.config["spill_folders"], self.config.get("keep_logs", False))
        self.loop.stop()
