"""What the daemon remembers of jobs and events."""

from __future__ import annotations

import pytest

from shoal.node.journal import EVENTS_KEPT, JOBS_KEPT, Journal


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
