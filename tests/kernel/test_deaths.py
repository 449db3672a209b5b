"""kill -9 of processes that use the arena, and what is true after their slots were repaired."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from shoal import _kernel

from .arena_child import in_child
from .node import Node, error_bytes, until
from .test_tasks import add, count_to, wait_for


@in_child
def test_a_task_that_ran_is_returned_and_can_run_again(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    go = folder / "go"
    ref = node.task(wait_for, retries=1)(str(go))
    worker = node.worker()
    record = ref.record
    until(lambda: _kernel.record_state(record) == _kernel.RUNNING)
    [dead] = node.kill(worker)
    assert (dead.record, dead.uid, dead.retries_left, dead.name) == (ref.record, ref.uid, 1, "wait_for")
    _kernel.requeue(dead.record)
    go.touch()
    second = node.worker()
    assert _kernel.get(ref) == str(go)
    node.end(second)
    del ref
    assert node.records() == before


@in_child
def test_a_task_that_is_not_to_run_again_fails(folder: Path) -> None:
    node = Node(folder)
    ref = node.task(wait_for)(str(folder / "never"))
    later = node.task(add)(ref)
    worker = node.worker()
    until(lambda: _kernel.record_state(ref.record) == _kernel.RUNNING)
    [dead] = node.kill(worker)
    assert _kernel.fail_record(dead.record, error_bytes("the worker died"))
    second = node.worker()
    for each in (ref, later):
        with pytest.raises(ValueError, match="the worker died"):
            _kernel.get(each)
    node.end(second)


@in_child
def test_counts_and_pins_of_the_dead_are_given_back(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    big = _kernel.put(bytearray(1_000_000))
    held = folder / "held"

    def hold() -> None:
        mine = [_kernel.hold(big.record), *(_kernel.put(n) for n in range(1000))]
        view = _kernel.get(mine[0])
        held.touch()
        until(lambda: view is None)

    slot = node.driver(hold)
    until(held.exists)
    assert node.records() > before + 1000
    assert node.kill(slot) == []
    assert node.records() == before + 1
    assert _kernel.record_count(big.record) == 1


@in_child
def test_what_a_dead_process_had_submitted_is_found(folder: Path) -> None:
    node = Node(folder)
    submitted = folder / "submitted"
    queue = _kernel.create_queue(node.queue, 1, False)

    def submit() -> None:
        task = node.task(add, queue=queue)
        first = task(1)
        refs = [task(first) for _ in range(3)]
        submitted.touch()
        until(lambda: not refs)

    slot = node.driver(submit)
    until(submitted.exists)
    orphans = _kernel.orphaned_tasks(slot)
    assert len(orphans) == 4 and {task.owner for task in orphans} == {slot}
    node.kill(slot)
    assert _kernel.close_queue(queue, error_bytes("owner died")) == 1
    for task in orphans:
        if _kernel.record_uid(task.record) == task.uid:
            _kernel.fail_record(task.record, error_bytes("owner died"))
    assert _kernel.orphaned_tasks(slot) == []


@in_child
def test_a_producer_whose_reader_died_goes_on(folder: Path) -> None:
    node = Node(folder)
    worker = node.worker()
    submitted = folder / "submitted"
    task = node.task(count_to, streaming=True, backpressure=1)

    def submit() -> None:
        stream = node.task(count_to, streaming=True, backpressure=1)(10**9)
        submitted.touch()
        until(lambda: stream is None)

    slot = node.driver(submit)
    until(submitted.exists)
    until(lambda: _kernel.slot_state(worker).running)
    node.kill(slot)
    until(lambda: not _kernel.slot_state(worker).running)
    node.end(worker)
    del task


@in_child
def test_no_value_is_wrong_when_workers_are_killed_at_random(folder: Path) -> None:
    node = Node(folder)
    chance = random.Random(7)
    task = node.task(add, retries=-1)
    refs, sums = [task(1)], [1]
    for n in range(3000):
        k = chance.randrange(max(0, n - 50), n + 1)
        refs.append(task(refs[k], n))
        sums.append(sums[k] + n)
    workers = [node.worker(), node.worker()]
    for _ in range(40):
        victim = workers.pop(chance.randrange(2))
        until(lambda victim=victim: _kernel.slot_state(victim).executed or not _kernel.queue_length(node.queue))
        for dead in node.kill(victim):
            _kernel.requeue(dead.record)
        workers.append(node.worker())
    assert _kernel.get(refs) == sums
    node.end(*workers)


@in_child
def test_a_fork_of_user_code_has_no_session(folder: Path) -> None:
    Node(folder)
    ref = _kernel.put(1)
    count = _kernel.record_count(ref.record)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if _kernel.forked() and not _kernel.attached() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert _kernel.record_count(ref.record) == count and _kernel.get(ref) == 1
