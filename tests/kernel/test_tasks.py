"""Tasks, streams, mailboxes and waiting, with forked workers and no daemon but the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal import _kernel

from .arena_child import in_child
from .node import Node, error_bytes, until


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(*args: Any) -> None:
    raise KeyError("on purpose")


def wait_for(path: str) -> str:
    until(lambda: Path(path).exists())
    return path


def pair(x: int) -> tuple[int, int, int]:
    return x, x + 1, x + 2


def count_to(n: int) -> Iterator[int]:
    yield from range(n)


@in_child
def test_tasks_run_in_the_order_of_what_they_need(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    task = node.task(add)
    total = task(1)
    for _ in range(500):
        total = task(total, 1)
    tree = [task(n) for n in range(64)]
    while len(tree) > 1:
        tree = [task(a, b) for a, b in zip(tree[::2], tree[1::2], strict=True)]
    workers = [node.worker(), node.worker()]
    assert _kernel.get(total) == 501
    assert _kernel.get(tree) == [sum(range(64))]
    node.end(*workers)
    del task, total, tree
    assert node.records() == before


@in_child
def test_a_long_chain_of_failures_needs_no_stack(folder: Path) -> None:
    node = Node(folder)
    task = node.task(add)
    ref = first = task(1)
    for _ in range(50_000):
        ref = task(ref)
    assert _kernel.close_queue(node.queue, error_bytes("closed")) == 1
    for each in (first, ref):
        with pytest.raises(ValueError, match="closed"):
            _kernel.get(each)


@in_child
def test_errors_reach_everything_that_needs_the_value(folder: Path) -> None:
    node = Node(folder)
    worker = node.worker()
    failed = node.task(fail)(1)
    later = node.task(add)(failed, 1)
    for ref in (failed, later):
        with pytest.raises(KeyError, match="on purpose"):
            _kernel.get(ref)
    node.end(worker)


@in_child
def test_several_returns_are_objects_of_their_own(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    worker = node.worker()
    refs = node.task(pair, num_returns=3)(5)
    assert _kernel.get(refs) == [5, 6, 7]
    node.end(worker)
    del refs
    assert node.records() == before


@in_child
def test_timeouts_of_get_and_wait(folder: Path) -> None:
    node = Node(folder)
    never = node.task(add)(1)
    for timeout_s in (0.0, 0.01):
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            _kernel.get_timed([never], timeout_s)
        assert time.monotonic() - started >= timeout_s
    ready = _kernel.put(1)
    assert _kernel.wait_refs([never, ready], [never, ready], 2, 0.01) == ([ready], [never])
    assert _kernel.wait_refs([never, ready], [never, ready], 1, -1.0) == ([ready], [never])


@in_child
def test_callbacks_come_once_for_each_sealed_record(folder: Path) -> None:
    node = Node(folder)
    calls: list[int] = []
    refs = [node.task(add)(n) for n in range(20)]
    for n, ref in enumerate(refs):
        assert _kernel.watch(ref, lambda n=n: calls.append(n))
    assert not _kernel.watch(_kernel.put(1), lambda: calls.append(-1))
    assert _kernel.watch_step(0.0) == []
    worker = node.worker()

    def step() -> bool:
        for callback in _kernel.watch_step(1.0):
            callback()
        return len(calls) == 20

    until(step)
    assert sorted(calls) == list(range(20))
    node.end(worker)


@in_child
def test_a_stream_waits_for_its_reader(folder: Path) -> None:
    node = Node(folder)
    before = node.records()
    worker = node.worker()
    stream = _stream_ref(node.task(count_to, streaming=True, backpressure=3)(1000))
    _until_unread(stream, 3)
    items = []
    while (item := _kernel.next_item(stream, 30.0)) is not None:
        assert _kernel.stream_state(stream)[0] <= 3
        items.append(_kernel.get(item))
    assert items == list(range(1000))
    abandoned = _stream_ref(node.task(count_to, streaming=True, backpressure=1)(10**9))
    _until_unread(abandoned, 1)
    del abandoned, stream, item
    until(lambda: node.records() == before)  # its producer has noticed
    node.end(worker)


def _until_unread(stream: Any, items: int) -> None:
    until(lambda: _kernel.stream_state(stream)[0] == items)


def _stream_ref(generator: Any) -> Any:
    return generator.completed() if hasattr(generator, "completed") else generator


@in_child
def test_cancelling_before_while_and_after(folder: Path) -> None:
    node = Node(folder)
    error = error_bytes("cancelled")
    task = node.task(add)
    queued, pending_on = task(1), task(2)
    pending = task(pending_on)
    assert _kernel.cancel_record(queued.record, queued.uid, error) == 1
    assert _kernel.cancel_record(pending.record, pending.uid, error) == 1
    go = folder / "go"
    running = node.task(wait_for)(str(go))
    worker = node.worker()
    until(lambda: _kernel.record_state(running.record) == _kernel.RUNNING)
    assert _kernel.cancel_record(running.record, running.uid, error) == 2
    assert _kernel.record_cancelled(running.record)
    go.touch()
    assert _kernel.get([running, pending_on]) == [str(go), 2]
    assert _kernel.cancel_record(pending_on.record, pending_on.uid, error) == 0
    for ref in (queued, pending):
        with pytest.raises(ValueError, match="cancelled"):
            _kernel.get(ref)
    node.end(worker)


@in_child
def test_calls_of_one_caller_keep_their_order_while_arguments_are_pending(folder: Path) -> None:
    node = Node(folder)
    actor = _kernel.put("stands for the actor")
    queue = _kernel.create_queue(_kernel.my_slot(), 0, True)
    mailbox = _kernel.Mailbox(queue, actor.record, actor.uid, True, -1)
    go = folder / "go"
    slow = node.task(wait_for)(str(go))
    log = folder / "log"
    note = node.task(_note, mailbox=mailbox, actor=actor)
    calls = [note(str(log), n, slow if n % 7 == 3 else None) for n in range(50)]
    server, worker = node.server(queue), node.worker()
    assert _kernel.get(calls[:3]) == [0, 1, 2]
    go.touch()
    assert _kernel.get(calls) == list(range(50))
    assert log.read_text().split() == [str(n) for n in range(50)]
    _kernel.close_queue(queue, error_bytes("the actor has ended"))
    assert node.bury(server) == []
    with pytest.raises(ValueError, match="has ended"):
        _kernel.get(note(str(log), 51, None))
    node.end(worker)


def _note(log: str, number: int, _needed: Any) -> int:
    with open(log, "a") as file:
        print(number, file=file)
    return number


@in_child
def test_a_limit_of_calls_under_way_is_kept(folder: Path) -> None:
    node = Node(folder)
    actor = _kernel.put("stands for the actor")
    mailbox = _kernel.Mailbox(_kernel.create_queue(_kernel.my_slot(), 0, True), actor.record, actor.uid, True, 2)
    call = node.task(add, mailbox=mailbox, actor=actor)
    held = [call(1), call(2)]
    with pytest.raises(RuntimeError, match="more than 2"):
        call(3)
    assert len(held) == 2


@in_child
def test_a_weak_submitter_keeps_no_actor_and_tells_when_it_is_gone(folder: Path) -> None:
    node = Node(folder)
    actor = _kernel.put("stands for the actor")
    queue = _kernel.create_queue(_kernel.my_slot(), 0, True)
    mailbox = _kernel.Mailbox(queue, actor.record, actor.uid, True, -1)
    call = node.task(add, mailbox=mailbox, gone=lambda: "gone")
    before, counted = node.records(), _kernel.record_count(actor.record)
    held = call(1)
    assert node.records() == before + 1 and _kernel.record_count(actor.record) == counted == 1
    server = node.server(queue)
    assert _kernel.get(held) == 1
    _kernel.close_queue(queue, error_bytes("the actor has ended"))
    assert node.bury(server) == []
    del actor
    assert call(2) == "gone"
    again = _kernel.put("takes the place of the record")
    assert call(3) == "gone" and _kernel.record_count(again.record) == 1
    with pytest.raises(TypeError, match="needs the actor"):
        node.task(add, mailbox=mailbox)


@in_child
def test_a_get_without_end_lets_other_threads_run(folder: Path) -> None:
    node = Node(folder)
    ref = node.task(add)(2, 3)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(_kernel.get(ref)))
    thread.start()
    worker = node.worker()
    thread.join(30)
    assert found == [5]
    node.end(worker)
