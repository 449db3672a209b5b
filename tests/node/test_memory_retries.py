"""Tasks that were ended for memory: when they run again, and when not."""

from __future__ import annotations

import pytest

from shoal.node import events as e
from shoal.node.memory_retries import ALONE_MAX, PAUSE_MAX_S, PAUSE_MIN_S, REMEMBERED_MAX, MemoryRetries, Pause

from .simulated_node import DRIVER, SimulatedNode


def task(uid: int = 1, retries: int = 3) -> e.DeadTaskSeen:
    return e.DeadTaskSeen(uid + 100, uid, 9, retries, "hungry", DRIVER, False, False)


def end_for_memory(node: SimulatedNode, alone: bool = False) -> None:
    slot = node.running()[0].slot
    node.tell(
        e.MemoryShort(slot, "the node used 99 %, so process 1 (work, 900 MiB) was ended. The biggest:\n  the table", alone)
    )
    node.die(slot)


def test_pauses_double_up_to_a_limit_and_are_without_end() -> None:
    retries = MemoryRetries()
    lengths = []
    for _ in range(100):
        verdict = retries.ended(task(), alone=False, now_s=0.0)
        assert isinstance(verdict, Pause)
        lengths.append(verdict.length_s)
    assert lengths[:3] == [PAUSE_MIN_S, 2 * PAUSE_MIN_S, 4 * PAUSE_MIN_S]
    assert lengths[-1] == PAUSE_MAX_S == max(lengths)


def test_a_paused_task_is_due_once() -> None:
    retries = MemoryRetries()
    retries.ended(task(), alone=False, now_s=10.0)
    assert retries.due(10.0) == []
    assert retries.next_s(10.0) == pytest.approx(PAUSE_MIN_S)
    assert retries.due(10.0 + PAUSE_MIN_S) == [(101, 1)]
    assert retries.due(99.0) == [] and retries.next_s(99.0) is None


def test_a_task_alone_on_the_node_fails_after_some_times_in_a_row() -> None:
    retries = MemoryRetries()
    for _ in range(ALONE_MAX - 1):
        assert isinstance(retries.ended(task(), alone=True, now_s=0.0), Pause)
    assert isinstance(retries.ended(task(), alone=False, now_s=0.0), Pause), "somebody else ran: counted from the beginning"
    for _ in range(ALONE_MAX - 1):
        assert isinstance(retries.ended(task(), alone=True, now_s=0.0), Pause)
    assert "in a row although nothing else ran" in str(retries.ended(task(), alone=True, now_s=0.0))


def test_the_limit_and_a_task_without_retries_are_respected() -> None:
    retries = MemoryRetries(limit=1)
    assert isinstance(retries.ended(task(), alone=False, now_s=0.0), Pause)
    assert "task_oom_retries is 1" in str(retries.ended(task(), alone=False, now_s=0.0))
    assert retries.ended(task(2, retries=0), alone=False, now_s=0.0) == "it has no retry left"


def test_histories_do_not_grow_for_ever() -> None:
    retries = MemoryRetries()
    for uid in range(REMEMBERED_MAX + 10):
        retries.ended(task(uid), alone=False, now_s=0.0)
        retries.drop(uid)
    assert len(retries._histories) == REMEMBERED_MAX


def test_being_ended_for_memory_uses_up_no_retry() -> None:
    node = SimulatedNode({"CPU": 1.0})
    (record,) = node.submit(node.queue(), retries=1)
    for pause in range(12):
        end_for_memory(node)
        assert not node.running(), "it pauses"
        tick_s = node.brain.wants_tick_s()
        assert tick_s is not None and tick_s <= PAUSE_MIN_S * 2**pause + 1e-6
        node.later(PAUSE_MAX_S)
    node.die(node.running()[0].slot)
    assert node.running(), "a crash has its own counter"
    node.die(node.running()[0].slot)
    assert node.failed[record].kind == "worker_crashed"


def test_the_driver_hears_of_it_less_and_less_often() -> None:
    node = SimulatedNode({"CPU": 1.0})
    node.submit(node.queue(), retries=1)
    for _ in range(9):
        end_for_memory(node)
        node.later(PAUSE_MAX_S)
    told = [item.message.message for item in node.notified if item.message.kind == "out_of_memory"]
    assert len(told) == 4
    for text, often in zip(told, ("for the first time", "2 times so far", "4 times so far", "8 times so far"), strict=True):
        assert text.startswith("task work was ended (out of memory: the node used 99 %, ") and often in text
        assert "the table" not in text


def test_a_task_that_does_not_fit_alone_fails_with_its_memory_and_the_threshold() -> None:
    node = SimulatedNode({"CPU": 1.0})
    (record,) = node.submit(node.queue(), retries=-1)
    for _ in range(ALONE_MAX):
        end_for_memory(node, alone=True)
        node.later(PAUSE_MAX_S)
    error = node.failed[record]
    assert error.kind == "out_of_memory"
    for part in ("task work failed", "3 times in a row", "900 MiB", "99 %", "the table"):
        assert part in error.message


def test_a_pausing_task_is_cancelled_at_once() -> None:
    node = SimulatedNode({"CPU": 1.0})
    (record,) = node.submit(node.queue(), retries=1)
    end_for_memory(node)
    node.tell(e.PauseCancelled(record, record))
    assert node.failed[record].kind == "cancelled"
    node.later(PAUSE_MAX_S)
    assert not node.running()


def test_a_pausing_task_ends_with_its_owner() -> None:
    node = SimulatedNode({"CPU": 1.0})
    (record,) = node.submit(node.queue(), retries=1)
    end_for_memory(node)
    node.tell(e.DriverGone(1, DRIVER, [e.DeadTaskSeen(record, record, 9, 1, "work", DRIVER, False, False)]))
    node.later(PAUSE_MAX_S)
    assert node.failed[record].kind == "owner_died" and not node.running()
