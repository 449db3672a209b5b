"""The daemon's side of finding what hangs: answers those who wait for long, and warns drivers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shoal import _kernel
from shoal.core.native import messages as m
from shoal.node.arena_view import describe_execution
from shoal.node.deadlocks import Deadlocks
from shoal.node.node_view import NodeView
from shoal.node.shortages import Shortages

if TYPE_CHECKING:
    from shoal.node.daemon import Daemon

RECORDS_SEARCHED = 10_000


class HangWatch:
    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.embedded = daemon.embedded
        self._view = NodeView(daemon.brain, self)
        self._deadlocks = Deadlocks(_kernel, self._view, describe_execution)
        self._shortages = Shortages(self._deadlocks.lack_of)

    def still_waiting(self, slot: int, message: m.StillWaiting, now_s: float) -> m.Answer:
        """The answer to who waits: Done, or the Failure that ends the wait."""
        verdict = self._deadlocks.still_waiting(slot, message, now_s)
        if verdict.error:
            self._daemon.journal.told("deadlock", verdict.error)
            return m.Failure("deadlock", verdict.error, {"record": str(verdict.record)})
        if verdict.warning:
            self._warn(self._daemon.brain.processes.root_of(slot), "deadlock", verdict.warning)
        return m.Done()

    def tell_of_shortages(self, now_s: float) -> None:
        """Warns of work that waits for resources which nobody gives back."""
        if self._daemon.brain.leases.unmet:
            for root, text in self._shortages.news(self._view.shortages, now_s):
                self._warn(root, "shortage", text)

    def _warn(self, root: int, kind: str, text: str) -> None:
        self._daemon.journal.told(kind, text)
        self._daemon.clients.notify(root, m.ErrorEvent(kind, text))

    # ------------------------------------------------------------ facts for the view

    def executions(self, slot: int) -> list[tuple[int, int]]:
        return _kernel.executions(slot)

    def describe(self, execution: tuple[int, int]) -> str:
        return describe_execution(execution)

    def driver_slots(self) -> list[int]:
        return self._daemon.clients.driver_slots()

    def mailbox_length(self, mailbox: int) -> int:
        return _kernel.queue_length(mailbox)

    def has_one_thread(self, pid: int) -> bool:
        try:
            return len(os.listdir(f"/proc/{pid}/task")) == 1
        except OSError:
            return False

    def queued_name(self, queue: int) -> str:
        """Of what waits first in a task queue, as far as it is found with little effort."""
        for row in _kernel.list_records(RECORDS_SEARCHED):
            if row["queue"] == queue and row["state"] == _kernel.QUEUED:
                return f"task {row['name']}"
        return "a task"
