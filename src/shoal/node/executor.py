"""Carries out the brain's instructions."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shoal import _kernel
from shoal.core.native.messages import ErrorEvent
from shoal.node import events as e
from shoal.node.errors import error_bytes

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon


class Executor:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._pending: deque[e.Instruction] = deque()
        self._busy = False
        self._held: set[int] = set()  # records of detached actors: one count each
        self._outlived: dict[
            int, list[int]
        ] = {}  # slot of a living process -> records of actors that ended before it: one count each
        self.unreferenced: set[int] = set()  # records whose last count is the daemon's

    def execute(self, instructions: list[e.Instruction]) -> None:
        """In order. Answers of instructions reach the brain in between; what it then says comes after."""
        self._pending.extend(instructions)
        if self._busy:
            return
        self._busy = True
        try:
            while self._pending:
                instruction = self._pending.popleft()
                _HANDLERS[type(instruction)](self, instruction)
        finally:
            self._busy = False

    def adopt_first(self, number: int, slot: int, out: int, err: int) -> None:
        """A worker that the zygote forks by itself at the start."""
        self._daemon.logs.watch(slot, out, err)
        self._daemon.handle(e.SlotReserved(number, slot))
        self._daemon.zygotes.expect(slot)

    def _fork(self, instruction: e.ForkProcess) -> None:
        daemon = self._daemon
        is_actor = bool(instruction.actor_id)
        try:
            slot = _kernel.reserve_slot(_kernel.ROLE_ACTOR if is_actor else _kernel.ROLE_WORKER)
            pipes = [os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)]
        except (RuntimeError, OSError) as error:
            daemon.handle(e.SlotReserved(instruction.number, 0, str(error)))
            return
        if instruction.queue:
            _kernel.assign(slot, instruction.queue)
        daemon.logs.watch(slot, pipes[0][0], pipes[1][0])
        daemon.zygotes.fork(slot, is_actor, instruction, [pipes[0][1], pipes[1][1]])
        daemon.handle(e.SlotReserved(instruction.number, slot))

    def _prepare(self, instruction: e.PrepareEnvironment) -> None:
        self._daemon.preparations.prepare(instruction.environment, instruction.root)

    def _assign(self, instruction: e.Assign) -> None:
        _kernel.assign(instruction.slot, instruction.queue)

    def _unassign(self, instruction: e.Unassign) -> None:
        if _kernel.unassign(instruction.slot):
            self._daemon.handle(e.SlotIdle(instruction.slot))

    def _set_lent(self, instruction: e.SetLent) -> None:
        _kernel.set_lent(instruction.slot, instruction.lent)

    def _set_starving(self, instruction: e.SetStarving) -> None:
        _kernel.set_starving(instruction.starving)

    def _kill(self, instruction: e.KillProcess) -> None:
        self._signal(instruction.slot, signal.SIGKILL, True)

    def _interrupt(self, instruction: e.InterruptProcess) -> None:
        self._signal(instruction.slot, signal.SIGINT, False)

    def _signal(self, slot: int, number: int, group: bool) -> None:
        process = self._daemon.brain.processes.at(slot)
        if process is None:
            return
        if process.pid:
            self._daemon.zygotes.signal(process.pid, process.generation, number, group)
        elif number == signal.SIGKILL:
            self._daemon.zygotes.kill_when_forked(slot)

    def _retire(self, instruction: e.RetireWorker) -> None:
        """A worker whose own submissions are not done stays: its end would fail them."""
        slot = instruction.slot
        process = self._daemon.brain.processes.at(slot)
        if _kernel.has_open_work(slot):
            if process is not None:
                process.retiring = False
                process.active_s = self._daemon.loop.time()
        else:
            _kernel.end_worker(slot)

    def _exit_actor(self, instruction: e.ExitActor) -> None:
        from shoal.core.native.termination import send_terminate

        send_terminate(instruction.mailboxes[0])

    def _requeue(self, instruction: e.RequeueTask) -> None:
        record = instruction.record
        if _kernel.record_uid(record) != instruction.uid or _kernel.record_state(record) != _kernel.RUNNING:
            return
        if _kernel.record_cancelled(record):
            _kernel.fail_record(record, error_bytes(e.ErrorFacts("cancelled", "")))
        else:
            _kernel.requeue(record, True, instruction.use_retry)

    def _fail(self, instruction: e.FailTask) -> None:
        if _kernel.record_uid(instruction.record) == instruction.uid:
            _kernel.fail_record(instruction.record, error_bytes(instruction.error))

    def _close_queue(self, instruction: e.CloseQueue) -> None:
        _kernel.close_queue(instruction.queue, error_bytes(instruction.error))

    def _free_queue(self, instruction: e.FreeQueue) -> None:
        _kernel.free_queue(instruction.queue)

    def _hold_actor(self, instruction: e.HoldActor) -> None:
        if _kernel.keep(instruction.record):
            self._held.add(instruction.record)

    def _end_actor(self, instruction: e.EndActor) -> None:
        record = instruction.record
        error = error_bytes(instruction.error)
        if instruction.slot and _kernel.keep(record):
            self._outlived.setdefault(instruction.slot, []).append(record)
        _kernel.end_actor(record)
        for mailbox in instruction.mailboxes:
            _kernel.close_queue(mailbox, error)
        if _kernel.record_state(record) != _kernel.SEALED:
            _kernel.fail_record(record, error)
        for counted in (self._held, self.unreferenced):
            if record in counted:
                counted.discard(record)
                _kernel.release(record)

    def process_gone(self, slot: int) -> None:
        """The process at ``slot`` serves nothing any more: the actors that ended before it give back their mailboxes."""
        for record in self._outlived.pop(slot, ()):
            _kernel.release(record)

    def _reply(self, instruction: e.Reply) -> None:
        self._daemon.clients.reply(instruction.client, instruction.request_id, instruction.message)

    def _notify(self, instruction: e.Notify) -> None:
        if isinstance(instruction.message, ErrorEvent):
            self._daemon.journal.told(instruction.message.kind, instruction.message.message)
        self._daemon.clients.notify(instruction.root, instruction.message)


_HANDLERS: dict[type, Callable[[Executor, Any], None]] = {
    e.ForkProcess: Executor._fork,
    e.PrepareEnvironment: Executor._prepare,
    e.Assign: Executor._assign,
    e.Unassign: Executor._unassign,
    e.SetLent: Executor._set_lent,
    e.SetStarving: Executor._set_starving,
    e.KillProcess: Executor._kill,
    e.RetireWorker: Executor._retire,
    e.ExitActor: Executor._exit_actor,
    e.InterruptProcess: Executor._interrupt,
    e.RequeueTask: Executor._requeue,
    e.FailTask: Executor._fail,
    e.CloseQueue: Executor._close_queue,
    e.FreeQueue: Executor._free_queue,
    e.HoldActor: Executor._hold_actor,
    e.EndActor: Executor._end_actor,
    e.Reply: Executor._reply,
    e.Notify: Executor._notify,
}
