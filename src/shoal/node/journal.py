"""What the daemon remembers for the state lists: jobs, workers that have ended and notable events, the latest of each. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

JOBS_KEPT = 1000
"""Jobs that have ended; those that run are all known."""
WORKERS_KEPT = 1000
"""Workers that have ended."""
EVENTS_KEPT = 1000

# By the kind of an ErrorEvent, which drivers are told: how bad it is, and what it is about.
_TOLD = {
    "daemon": ("ERROR", "DAEMON"),
    "deadlock": ("WARNING", "DEADLOCK"),
    "fork": ("ERROR", "WORKER"),
    "out_of_memory": ("WARNING", "MEMORY"),
    "shortage": ("WARNING", "SCHEDULING"),
    "spill_folder": ("WARNING", "SPILLING"),
}


class Job(msgspec.Struct, eq=False):
    """A driver that has connected. ``ended_ms`` is 0 while it runs."""

    number: int
    slot: int
    pid: int
    entrypoint: str
    namespace: str
    began_ms: int
    ended_ms: int = 0

    @property
    def job_id(self) -> str:
        return self.number.to_bytes(4, "big").hex()


class EndedWorker(msgspec.Struct, frozen=True):
    """``exit_type``: see ``exit_status``. ``tasks``: uids of what it was executing."""

    worker_id: str
    slot: int
    pid: int
    is_actor: bool
    exit_type: str
    exit_detail: str
    began_ms: int
    ended_ms: int
    tasks: tuple[int, ...] = ()


class NotableEvent(msgspec.Struct, frozen=True):
    """``severity``: INFO, WARNING or ERROR. ``source``: JOB, WORKER, MEMORY, SPILLING, RUNTIME_ENV or DAEMON."""

    number: int
    at_ms: int
    severity: str
    source: str
    message: str
    facts: dict[str, str]


class Journal:
    """``now_s``: seconds since 1970."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._running: dict[int, Job] = {}  # by slot
        self._ended: deque[Job] = deque(maxlen=JOBS_KEPT)
        self._events: deque[NotableEvent] = deque(maxlen=EVENTS_KEPT)
        self._noted = 0
        self.node_began_ms = self._now_ms()
        self._worker_began: dict[int, int] = {}  # by slot
        self._ended_workers: deque[EndedWorker] = deque(maxlen=WORKERS_KEPT)

    def worker_began(self, slot: int) -> None:
        self._worker_began[slot] = self._now_ms()

    def began_ms(self, slot: int) -> int:
        """When the worker at ``slot`` began; 0: there is none."""
        return self._worker_began.get(slot, 0)

    def worker_ended(
        self, worker_id: str, slot: int, pid: int, is_actor: bool, exit_type: str, detail: str, tasks: tuple[int, ...]
    ) -> None:
        began_ms = self._worker_began.pop(slot, 0)
        self._ended_workers.append(
            EndedWorker(worker_id, slot, pid, is_actor, exit_type, detail, began_ms, self._now_ms(), tasks)
        )

    def ended_workers(self) -> list[EndedWorker]:
        """The latest first."""
        return list(reversed(self._ended_workers))

    def job_began(self, number: int, slot: int, pid: int, entrypoint: str, namespace: str) -> None:
        job = self._running[slot] = Job(number, slot, pid, entrypoint, namespace, self._now_ms())
        self.note("INFO", "JOB", f"the job {job.job_id} began: process {pid}", job_id=job.job_id)

    def job_ended(self, slot: int) -> None:
        """The driver at ``slot`` has hung up; how its program ended is not known here."""
        job = self._running.pop(slot, None)
        if job is not None:
            job.ended_ms = self._now_ms()
            self._ended.append(job)
            self.note("INFO", "JOB", f"the job {job.job_id} ended: process {job.pid}", job_id=job.job_id)

    def note(self, severity: str, source: str, message: str, **facts: str) -> None:
        self._noted += 1
        self._events.append(NotableEvent(self._noted, self._now_ms(), severity, source, message, facts))

    def told(self, kind: str, message: str) -> None:
        """Drivers were told this, as an ErrorEvent of that kind."""
        self.note(*_TOLD[kind], message)

    def jobs(self) -> list[Job]:
        return [*self._running.values(), *reversed(self._ended)]

    def events(self) -> list[NotableEvent]:
        """The latest first."""
        return list(reversed(self._events))

    def _now_ms(self) -> int:
        return int(self._now_s() * 1000)
