"""Who is ended when memory runs short. Readings are made up: no test fills the machine."""

from __future__ import annotations

import pytest

from shoal.node import events as e
from shoal.node import memory_guard
from shoal.node.brain import Brain
from shoal.node.memory_guard import Candidate, MemoryGuard, Usage, choose, explain

from .simulated_node import SimulatedNode

FULL = Usage(96, 100)


def no_tasks(record: int) -> tuple[str, int]:
    raise AssertionError(f"nobody runs anything, but record {record} was asked for")


def candidate(
    slot: int, retriable: bool = True, since_s: float = 0.0, resident: int = 0, owner: int = 1, idle: bool = False
) -> Candidate:
    return Candidate(slot, 1000 + slot, f"task{slot}", resident, retriable, since_s, owner, idle)


def test_nobody_is_ended_below_the_threshold() -> None:
    assert choose(Usage(94, 100), 0.95, [candidate(1)]) is None
    assert choose(FULL, 0.95, []) is None


def test_the_newest_that_can_run_again_is_ended_first() -> None:
    candidates = [candidate(1, since_s=1), candidate(2, since_s=5), candidate(3, retriable=False, since_s=9)]
    chosen = choose(FULL, 0.95, candidates)
    assert chosen is not None
    assert chosen.slot == 2


def test_the_newest_is_ended_when_none_can_run_again() -> None:
    chosen = choose(FULL, 0.95, [candidate(1, False, 1), candidate(2, False, 5)])
    assert chosen is not None
    assert chosen.slot == 2


def test_the_newest_of_the_owner_who_has_most_is_ended() -> None:
    mine = [candidate(slot, since_s=slot, owner=1) for slot in (1, 2, 3)]
    others = [candidate(slot, since_s=slot, owner=2) for slot in (8, 9)]
    chosen = choose(FULL, 0.95, [*others, *mine])
    assert chosen is not None and chosen.slot == 3
    chosen = choose(FULL, 0.95, [*others, *mine[:2]])
    assert chosen is not None and chosen.slot == 9, "of equals the one that began last"


def test_who_runs_nothing_is_not_ended_but_listed() -> None:
    candidates = [candidate(1, since_s=1), candidate(2, since_s=5, resident=7 * 2**20, idle=True)]
    chosen = choose(FULL, 0.95, candidates)
    assert chosen is not None and chosen.slot == 1
    assert "7 MiB  task2 (idle)" in explain(FULL, 0.95, chosen, candidates)
    assert choose(FULL, 0.95, candidates[1:]) is None


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_guard, "read_usage", lambda: FULL)


def running(node: SimulatedNode) -> list[e.SlotSeen]:
    return [e.SlotSeen(worker.slot, worker.queue, worker.running.record) for worker in node.running() if worker.running]


@pytest.mark.usefixtures("full")
def test_a_task_is_named_and_whether_it_was_alone_is_told() -> None:
    node = SimulatedNode()
    node.submit(node.queue(), 2)
    guard = MemoryGuard(0.95, 0.25)
    slots = running(node)
    verdict = guard.check(slots, node.brain, lambda record: ("hungry", 3))
    assert "(hungry, " in verdict.message and not verdict.alone
    node.tell(e.MemoryShort(verdict.victim_slot, verdict.message))
    verdict = guard.check(slots, node.brain, lambda record: ("hungry", 3))
    assert verdict.victim_slot and not verdict.alone, "the other's memory may not be free yet"
    node.die(next(iter(node.killed)))
    assert guard.check(running(node), node.brain, lambda record: ("hungry", 3)).alone


def test_the_report_lists_the_biggest() -> None:
    candidates = [candidate(slot, resident=slot * 2**20) for slot in range(1, 20)]
    text = explain(Usage(96 * 2**30, 100 * 2**30), 0.95, candidates[0], candidates)
    assert "96.00 GiB of 100.00 GiB" in text
    assert "task19" in text
    assert text.index("task19") < text.index("task18")
    assert "task5" not in text


def test_much_free_memory_is_looked_at_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    guard = MemoryGuard(0.95, 0.25)
    brain = Brain({"CPU": 1.0})
    monkeypatch.setattr(memory_guard, "read_usage", lambda: Usage(0, 10**12))
    assert guard.check([], brain, no_tasks).next_check_s == memory_guard.CHECK_MAX_S
    monkeypatch.setattr(memory_guard, "read_usage", lambda: Usage(94, 100))
    assert guard.check([], brain, no_tasks).next_check_s == 0.25
    monkeypatch.setattr(memory_guard, "read_usage", lambda: FULL)
    assert guard.check([], brain, no_tasks).victim_slot == 0, "nobody runs anything"


def test_settings_come_from_the_environment() -> None:
    guard = MemoryGuard.from_environment({"RAY_memory_usage_threshold": "0.5", "RAY_memory_monitor_refresh_ms": "0"})
    assert (guard.threshold, guard.enabled) == (0.5, False)
    assert guard.task_retries == -1
    assert MemoryGuard.from_environment({"RAY_task_oom_retries": "4"}).task_retries == 4
    with pytest.raises(ValueError, match="RAY_task_oom_retries must be >= -1, but got -2"):
        MemoryGuard.from_environment({"RAY_task_oom_retries": "-2"})
    with pytest.raises(ValueError, match="between 0 and 1"):
        MemoryGuard.from_environment({"RAY_memory_usage_threshold": "7"})


def test_the_machine_can_be_read() -> None:
    usage = memory_guard.read_usage()
    assert 0 < usage.used_bytes < usage.total_bytes
