"""Why a record is not sealed, what a process executes, and what is watched."""

from __future__ import annotations

from pathlib import Path

from shoal import _kernel
from shoal.node.standstill import ANOTHER, GOES_ON, ITSELF, WORKERS

from .arena_child import in_child
from .node import Node, until


def wait_for(path: str, number: int = 0) -> int:
    until(lambda: Path(path).exists())
    return number


@in_child
def test_what_holds_a_record_up_is_told_until_it_is_sealed(folder: Path) -> None:
    node = Node(folder)
    go = folder / "go"
    task = node.task(wait_for)
    first = task(str(go), 1)
    second = task(str(go), first)
    named = (first.record, first.uid)
    assert _kernel.obstacle(*named) == (WORKERS, [(node.queue, 1)]), "its queue and that one's scheduling class"
    assert _kernel.obstacle(second.record, second.uid) == (ANOTHER, [named])
    worker = node.worker()
    until(lambda: _kernel.record_state(first.record) == _kernel.RUNNING)
    assert _kernel.obstacle(*named) == (ITSELF, [named])
    assert _kernel.executions(worker) == [named]
    assert _kernel.running_slot(*named) == worker
    go.touch()
    assert _kernel.get(second) == 1
    assert _kernel.obstacle(*named) == (GOES_ON, [])
    assert _kernel.obstacle(first.record, first.uid + 1) == (GOES_ON, []), "another had the record"
    node.end(worker)


@in_child
def test_nobody_serves_a_closed_queue(folder: Path) -> None:
    node = Node(folder)
    ref = node.task(wait_for)("never")
    _kernel.close_queue(node.queue, b"")
    assert _kernel.obstacle(ref.record, ref.uid) == (GOES_ON, [])


@in_child
def test_a_constructor_is_shown_as_what_its_process_runs(folder: Path) -> None:
    Node(folder)
    ref = _kernel.put(1)
    _kernel.set_constructing(ref.record)
    assert _kernel.slot_state(_kernel.my_slot()).running == ref.record
    assert _kernel.executions(_kernel.my_slot()) == [], "it is no task or call"
    _kernel.set_constructing(0)
    assert _kernel.slot_state(_kernel.my_slot()).running == 0


@in_child
def test_what_is_watched_is_listed_until_it_is_ready(folder: Path) -> None:
    node = Node(folder)
    go = folder / "go"
    refs = [node.task(wait_for)(str(go)) for _ in range(2)]
    callbacks = [lambda: None, lambda: None, lambda: None]
    for ref, callback in zip([refs[0], refs[0], refs[1]], callbacks, strict=True):
        _kernel.watch(ref, callback)
    watched = {ref.uid: found for ref, found in _kernel.watched()}
    assert watched == {refs[0].uid: callbacks[:2], refs[1].uid: callbacks[2:]}
    worker = node.worker()
    go.touch()
    called: list[object] = []
    until(lambda: called.extend(_kernel.watch_step(1.0)) or len(called) == 3)
    assert _kernel.watched() == []
    node.end(worker)
