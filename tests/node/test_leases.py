"""Who gets a worker, and when it is taken away."""

from __future__ import annotations

import pytest

from .simulated_node import DRIVER, SimulatedNode


def test_as_many_workers_as_there_are_cpus() -> None:
    node = SimulatedNode()
    queue = node.queue()
    node.submit(queue, 10)
    assert len(node.running(queue)) == 2
    assert len(node.slots) == 2
    node.finish_all()
    assert len(node.finished) == 10
    assert len(node.slots) == 2


def test_one_task_needs_one_worker() -> None:
    node = SimulatedNode()
    queue = node.queue()
    node.submit(queue)
    assert len(node.slots) == 1
    node.finish_all()
    node.submit(queue)
    assert len(node.slots) == 1, "the worker that is there serves the next task"


def test_a_queue_that_grows_gets_more_workers() -> None:
    node = SimulatedNode()
    queue = node.queue()
    node.submit(queue)
    node.submit(queue)
    assert len(node.running(queue)) == 2


def test_a_worker_without_work_is_given_to_who_has_some() -> None:
    node = SimulatedNode()
    first, second = node.queue(), node.queue(node.register({"CPU": 2}))
    node.submit(first, 2)
    node.finish_all()
    node.submit(second)
    assert len(node.running(second)) == 1


def test_fractions_of_cpus_share_one() -> None:
    node = SimulatedNode()
    queue = node.queue(node.register({"CPU": 0.5}))
    node.submit(queue, 10)
    assert len(node.running(queue)) == 4


def test_custom_resources_bound_what_runs() -> None:
    node = SimulatedNode({"CPU": 8.0, "license": 3.0})
    queue = node.queue(node.register({"CPU": 1, "license": 1}))
    node.submit(queue, 10)
    assert len(node.running(queue)) == 3
    node.finish_all()


def test_tasks_without_resources_all_run_in_the_end() -> None:
    """They may wait for each other, so none may be kept back for ever; but short ones do not cost a process each."""
    node = SimulatedNode()
    queue = node.queue(node.register({}))
    node.submit(queue, 40)
    at_once = len(node.running(queue))
    assert 2 <= at_once <= 8
    for _ in range(20):
        node.later(0.06)
    assert len(node.running(queue)) == 40


def test_memory_is_held_while_a_task_is_blocked_and_cpu_is_not() -> None:
    node = SimulatedNode({"CPU": 1.0, "memory": 100.0})
    parents = node.queue(node.register({"CPU": 1, "memory": 100}))
    node.submit(parents)
    parent = node.running(parents)[0]
    children = node.queue(owner=parent.slot)
    hungry = node.queue(node.register({"CPU": 1, "memory": 1}), owner=parent.slot)
    node.submit(children)
    node.submit(hungry)
    node.block(parent.slot)
    assert len(node.running(children)) == 1
    assert not node.running(hungry)


@pytest.mark.parametrize("depth", [1, 5, 60])
def test_nested_gets_of_any_depth_go_on(depth: int) -> None:
    node = SimulatedNode({"CPU": 1.0})
    node.submit(node.queue())
    chain = [node.running()[0].slot]
    for _ in range(depth):
        child = node.queue(owner=chain[-1])
        node.submit(child)
        assert not node.running(child), "one CPU is taken by the parent"
        assert node.starving
        node.block(chain[-1])
        chain.append(node.running(child)[0].slot)
    for slot in reversed(chain):
        node.block(slot, False)
        node.finish(slot)
    assert len(node.finished) == depth + 1


def test_a_tree_of_nested_gets_blocks_as_many_processes_as_it_is_deep() -> None:
    node = SimulatedNode({"CPU": 2.0})
    depth = 7

    def grow(level: int, slot: int, waits: dict[int, list[int]]) -> None:
        if level < depth:
            queue = node.queue(owner=slot)
            waits[slot] = node.submit(queue, 2, look=False)
            levels.update(dict.fromkeys(waits[slot], level + 1))
            node.block(slot)

    levels: dict[int, int] = {}
    waits: dict[int, list[int]] = {}
    levels[node.submit(node.queue())[0]] = 1
    started: set[int] = set()
    most = 0
    for _ in range(2**depth * 20):
        if len(node.finished) == 2**depth - 1:
            break
        for worker in list(node.slots.values()):
            if worker.running is None:
                continue
            record = worker.running.record
            if record not in started:
                started.add(record)
                grow(levels[record], worker.slot, waits)
            elif all(child in node.finished for child in waits.get(worker.slot, [])):
                waits.pop(worker.slot, None)
                node.block(worker.slot, False)
                node.finish(worker.slot)
        most = max(most, len(node.slots))
        node.later(0.01)
    assert len(node.finished) == 2**depth - 1
    assert most <= 4 * depth


def test_waking_up_does_not_oversubscribe_for_long() -> None:
    node = SimulatedNode({"CPU": 1.0})
    parents = node.queue()
    node.submit(parents)
    parent = node.running()[0].slot
    children = node.queue(owner=parent)
    node.submit(children, 5)
    node.block(parent)
    child = node.running(children)[0].slot
    node.block(parent, False)
    assert len(node.running()) == 2, "both run for a moment"
    node.finish(child)
    assert [worker.slot for worker in node.running()] == [parent], "the child's worker takes no other task"


def test_two_owners_get_equal_shares() -> None:
    node = SimulatedNode({"CPU": 2.0})
    first, second = node.queue(owner=DRIVER), node.queue(owner=DRIVER + 1)
    node.submit(first, 1000)
    node.submit(second, 10)
    for _ in range(200):
        node.now_s += 0.005
        node.finish(node.running()[0].slot)
    done_of_second = 10 - len(node.queues[second].tasks)
    assert done_of_second == 10


def test_a_class_with_few_tasks_does_not_wait_for_one_with_many() -> None:
    node = SimulatedNode({"CPU": 1.0})
    many, few = node.queue(), node.queue(node.register({"CPU": 0.5}))
    node.submit(many, 100_000, look=False)
    node.submit(few, 2)
    steps = 0
    while node.queues[few].tasks or node.running(few):
        node.now_s += 0.01
        node.finish(node.running()[-1].slot)
        steps += 1
        assert steps < 60


def test_slices_are_only_taken_when_somebody_waits() -> None:
    node = SimulatedNode({"CPU": 2.0})
    queue = node.queue()
    node.submit(queue, 2)
    workers = {worker.slot for worker in node.running()}
    for _ in range(10):
        node.later(0.1)
    assert {worker.slot for worker in node.running(queue)} == workers


def test_a_big_request_gets_its_chance_among_small_ones() -> None:
    node = SimulatedNode({"CPU": 4.0})
    small, big = node.queue(), node.queue(node.register({"CPU": 4}))
    node.submit(small, 4)
    node.submit(big)
    for step in range(400):
        node.submit(small, 1, look=False)
        node.now_s += 0.02
        busy = node.running()
        if node.running(big):
            break
        node.finish(busy[step % len(busy)].slot)
    assert node.running(big)


def test_an_impossible_wait_does_not_stop_the_others() -> None:
    """An actor holds a CPU for good, so a request for both waits; small tasks go on with the other."""
    node = SimulatedNode({"CPU": 2.0})
    node.started(node.create_actor(cpus=1, creation_class_id=1, running_class_id=1))
    big, small = node.queue(node.register({"CPU": 2})), node.queue()
    node.submit(big)
    node.submit(small, 100)
    for _ in range(600):
        node.now_s += 0.02
        busy = node.running(small)
        if busy:
            node.finish(busy[0].slot)
        else:
            node.look()
    assert not node.queues[small].tasks


def test_idle_leases_end_and_idle_workers_beyond_the_cpus_leave() -> None:
    node = SimulatedNode({"CPU": 2.0})
    zero = node.queue(node.register({}))
    node.submit(zero, 6)
    for _ in range(10):
        node.later(0.06)
    assert len(node.slots) == 6
    node.finish_all()
    node.later(1.0)
    assert not node.exiting
    node.later(2.1)
    node.later(2.1)
    assert len(node.exiting) == 4
    node.later(0.1)
    assert len(node.exiting) == 4, "those that leave already are not counted again"
    for slot in list(node.exiting):
        node.die(slot, 0)
    node.later(1.0)
    assert node.brain.wants_tick_s() is None, "at rest nothing ticks"
    assert len(node.slots) == 2


def test_devices_are_packed_and_named() -> None:
    node = SimulatedNode({"CPU": 8.0, "GPU": 2.0})
    half, whole = node.queue(node.register({"GPU": 0.5})), node.queue(node.register({"GPU": 1}))
    node.submit(half)
    node.submit(whole)
    node.submit(half)
    assert sorted(worker.devices for worker in node.running(half)) == [(("GPU", (0,)),)] * 2
    assert [worker.devices for worker in node.running(whole)] == [(("GPU", (1,)),)]
    node.submit(whole)
    assert len(node.running(whole)) == 1


def test_a_worker_is_reused_only_with_its_environment() -> None:
    node = SimulatedNode()
    plain, special = node.queue(), node.queue(node.register({"CPU": 1}, runtime_env='{"env_vars":{"A":"1"}}'))
    node.submit(plain)
    first = node.running(plain)[0].slot
    node.finish_all()
    node.submit(special)
    assert node.running(special)[0].slot != first


def test_forks_under_way_are_bounded() -> None:
    node = SimulatedNode({"CPU": 64.0}, cores=2)
    node.autofork = False
    node.submit(node.queue(), 64)
    assert len(node.slots) == 4
    while len(node.running()) < 64:
        node.fork_all()
    assert len(node.slots) == 64


def test_a_fork_that_fails_is_told_and_tried_again() -> None:
    from shoal.node import events as e

    node = SimulatedNode()
    queue = node.queue()
    node.submit(queue, look=False)
    fork = next(item for item in node.brain.handle(node.seen()) if isinstance(item, e.ForkProcess))
    node.tell(e.SlotReserved(fork.number, 0, "no memory"))
    assert node.notified[0].message.kind == "fork"  # type: ignore[union-attr]
    node.later(0.06)
    assert len(node.running(queue)) == 1
