"""What the daemon remembers of jobs and events."""

from __future__ import annotations

import pytest

from shoal.node.journal import EVENTS_KEPT, JOBS_KEPT, WORKERS_KEPT, Journal


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> Journal:
    return Journal(clock)


def test_a_job_runs_until_its_driver_is_gone(journal: Journal, clock: Clock) -> None:
    journal.job_began(2, 7, 4711, "python train.py", "mine")
    [job] = journal.jobs()
    assert (job.job_id, job.pid, job.namespace, job.began_ms, job.ended_ms) == ("00000002", 4711, "mine", 1_000_000, 0)
    clock.now_s = 1002.5
    journal.job_ended(7)
    journal.job_ended(7)  # told twice, it ends once
    [job] = journal.jobs()
    assert job.ended_ms == 1_002_500
    assert [event.source for event in journal.events()] == ["JOB", "JOB"]


def test_jobs_that_run_come_first_and_are_all_kept(journal: Journal) -> None:
    for number in range(1, JOBS_KEPT + 3):
        journal.job_began(number, 1, 1, "", "")
        journal.job_ended(1)
    journal.job_began(5000, 2, 1, "", "")
    numbers = [job.number for job in journal.jobs()]
    assert numbers == [5000, *range(JOBS_KEPT + 2, 2, -1)]


def test_the_latest_events_are_kept_the_latest_first(journal: Journal) -> None:
    for number in range(EVENTS_KEPT + 2):
        journal.note("INFO", "WORKER", f"event {number}", pid=str(number))
    events = journal.events()
    assert [event.number for event in events] == list(range(EVENTS_KEPT + 2, 2, -1))
    assert events[0].facts == {"pid": str(EVENTS_KEPT + 1)} and events[0].at_ms == 1_000_000


@pytest.mark.parametrize(
    ("kind", "severity", "source"),
    [
        ("daemon", "ERROR", "DAEMON"),
        ("fork", "ERROR", "WORKER"),
        ("out_of_memory", "WARNING", "MEMORY"),
        ("spill_folder", "WARNING", "SPILLING"),
    ],
)
def test_what_drivers_are_told_is_an_event(journal: Journal, kind: str, severity: str, source: str) -> None:
    journal.told(kind, "what happened")
    [event] = journal.events()
    assert (event.severity, event.source, event.message) == (severity, source, "what happened")


def test_a_worker_that_has_ended_is_remembered_with_its_times(journal: Journal, clock: Clock) -> None:
    journal.worker_began(3)
    assert journal.began_ms(3) == 1_000_000
    clock.now_s = 1001.0
    journal.worker_ended("ab", 3, 4711, True, "SYSTEM_ERROR", "it was ended by SIGSEGV", (5, 6))
    [worker] = journal.ended_workers()
    assert (worker.worker_id, worker.pid, worker.is_actor, worker.exit_type) == ("ab", 4711, True, "SYSTEM_ERROR")
    assert (worker.began_ms, worker.ended_ms, worker.tasks) == (1_000_000, 1_001_000, (5, 6))
    assert journal.began_ms(3) == 0, "the slot is another's"


def test_only_the_latest_workers_are_kept(journal: Journal) -> None:
    for pid in range(WORKERS_KEPT + 2):
        journal.worker_ended("", 3, pid, False, "INTENDED_SYSTEM_EXIT", "", ())
    pids = [worker.pid for worker in journal.ended_workers()]
    assert (len(pids), pids[0], pids[-1]) == (WORKERS_KEPT, WORKERS_KEPT + 1, 2)
