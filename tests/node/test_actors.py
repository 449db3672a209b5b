"""The lives of actors, from the brain's side."""

from __future__ import annotations

from shoal.core.native import messages as m
from shoal.node import events as e

from .simulated_node import DRIVER, SimulatedNode


def slot_of(node: SimulatedNode, actor_id: bytes) -> int:
    process = node.actor(actor_id).process
    assert process is not None
    return int(process.slot)


def dead_call(record: int, retries: int = 0, cancelled: bool = False) -> e.DeadTaskSeen:
    return e.DeadTaskSeen(record, record, 9, retries, "Counter.add", DRIVER, cancelled, True)


def kill_process(node: SimulatedNode, slot: int, exit_code: int = -9, calls: tuple[e.DeadTaskSeen, ...] = ()) -> None:
    worker = node.slots.pop(slot)
    node.tell(e.ProcessDied(slot, worker.pid, exit_code, list(calls), log_tail="last words"))
    node.look()


def test_an_actor_takes_a_cpu_to_be_placed_and_none_to_live() -> None:
    node = SimulatedNode({"CPU": 1.0})
    actor = node.create_actor()
    assert node.actor(actor).state == "PENDING_CREATION"
    assert node.brain.pool.available["CPU"] == 0
    node.started(actor)
    assert node.actor(actor).state == "ALIVE"
    assert node.brain.pool.available["CPU"] == 10_000


def test_an_actor_with_cpus_keeps_them() -> None:
    node = SimulatedNode({"CPU": 2.0})
    class_id = node.register({"CPU": 2})
    actor = node.create_actor(creation_class_id=class_id, running_class_id=class_id)
    node.started(actor)
    queue = node.queue()
    node.submit(queue)
    assert not node.running(queue)
    node.block(slot_of(node, actor))
    assert not node.running(queue), "an actor that runs nothing is not blocked"


def test_a_blocked_actor_lends_its_cpus() -> None:
    node = SimulatedNode({"CPU": 1.0})
    actor = node.create_actor(creation_class_id=1, running_class_id=1)
    node.started(actor)
    queue = node.queue(owner=slot_of(node, actor))
    node.submit(queue)
    from .simulated_node import Task

    node.slots[slot_of(node, actor)].running = Task(99, DRIVER)
    node.block(slot_of(node, actor))
    assert len(node.running(queue)) == 1


def test_nothing_is_forked_before_the_arguments_are_ready() -> None:
    node = SimulatedNode()
    actor = node.create_actor(ready=False)
    node.look()
    assert node.actor(actor).state == "DEPENDENCIES_UNREADY"
    assert not node.slots
    node.tell(e.ActorReady(node.actor(actor).request.record))
    assert node.slots


def test_arguments_may_be_ready_before_the_request_is_read() -> None:
    node = SimulatedNode()
    record = node._next + 1
    node.tell(e.ActorReady(record))
    actor = node.create_actor(ready=False)
    # create_actor registers a class first, so the record it takes is the announced one.
    assert node.actor(actor).request.record == record
    assert node.actor(actor).state == "PENDING_CREATION"


def test_many_actors_are_made_one_cpu_at_a_time() -> None:
    node = SimulatedNode({"CPU": 2.0})
    actors = [node.create_actor() for _ in range(50)]
    made = 0
    while made < 50:
        constructing = [actor for actor in actors if node.actor(actor).process and node.actor(actor).state != "ALIVE"]
        assert 1 <= len(constructing) <= 2
        node.started(constructing[0])
        made += 1


def test_a_crash_without_restarts_is_the_end_and_says_how() -> None:
    node = SimulatedNode()
    actor = node.create_actor(name="counter", namespace="ns")
    node.started(actor)
    record = node.actor(actor).request.record
    kill_process(node, slot_of(node, actor), -11, (dead_call(77),))
    assert node.actor(actor).state == "DEAD"
    error = node.ended_actors[record]
    assert error.kind == "actor_died"
    assert "SIGSEGV" in error.message
    assert "last words" in error.message
    assert node.failed[77].kind == "actor_died"
    assert isinstance(node.request(m.NamedActor("counter", "ns")), m.Failure), "the name is free"


def test_restarts_run_the_constructor_again_and_are_counted() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=2)
    node.started(actor)
    for restart in (1, 2):
        kill_process(node, slot_of(node, actor), 1, (dead_call(70 + restart),))
        assert node.actor(actor).restarts == restart
        assert node.failed[70 + restart].kind == "actor_unavailable"
        assert node.actor(actor).state == "ALIVE"
        assert node.slots[slot_of(node, actor)].spec == b"spec"
    kill_process(node, slot_of(node, actor), 1)
    assert node.actor(actor).state == "DEAD"


def test_a_kill_uses_up_a_restart_of_an_actor_that_waits_for_a_cpu() -> None:
    node = SimulatedNode({"CPU": 1.0})
    first = node.create_actor(cpus=1)
    node.started(first)
    waiting = node.create_actor(max_restarts=1)
    assert node.actor(waiting).process is None
    node.request(m.KillActor(waiting, no_restart=False))
    assert (node.actor(waiting).restarts, node.actor(waiting).state) == (1, "PENDING_CREATION")
    node.request(m.KillActor(waiting, no_restart=False))
    assert node.actor(waiting).state == "DEAD"


def test_calls_with_retries_are_queued_again_at_a_restart() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=-1)
    node.started(actor)
    out: list[e.Instruction] = []
    node._do_requeuetask = out.append  # type: ignore[method-assign,assignment]
    kill_process(
        node, slot_of(node, actor), -9, (dead_call(901, retries=1), dead_call(902, retries=-1), dead_call(903, -1, True))
    )
    assert [item.record for item in out if isinstance(item, e.RequeueTask)] == [901, 902]
    assert node.failed[903].kind == "cancelled"


def test_an_intended_exit_is_never_restarted() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=-1)
    node.started(actor)
    kill_process(node, slot_of(node, actor), 76)
    assert node.actor(actor).state == "DEAD"


def test_a_constructor_that_raises_is_not_run_again() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=-1)
    record = node.actor(actor).request.record
    node.tell(e.ActorInitFailed(record))
    error = node.ended_actors[record]
    assert error.kind == "actor_init_failed"
    assert error.cause_record == record
    kill_process(node, next(iter(node.slots)), 78)
    assert node.actor(actor).state == "DEAD"


def test_a_process_that_dies_while_constructing_uses_up_a_restart() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=1)
    record = node.actor(actor).request.record
    kill_process(node, slot_of(node, actor), -9, (dead_call(record),))
    assert node.actor(actor).restarts == 1
    assert record not in node.failed
    kill_process(node, slot_of(node, actor), -9)
    assert node.actor(actor).state == "DEAD"


def test_kill_ends_an_actor_in_every_state() -> None:
    for prepare in ("waiting", "pending", "constructing", "alive"):
        node = SimulatedNode({"CPU": 1.0})
        if prepare == "pending":
            node.submit(node.queue())
        actor = node.create_actor(ready=prepare != "waiting", max_restarts=-1)
        if prepare == "alive":
            node.started(actor)
        record = node.actor(actor).request.record
        assert isinstance(node.request(m.KillActor(actor)), m.Done)
        assert node.ended_actors[record].kind == "actor_killed"
        if prepare in ("constructing", "alive"):
            slot = next(iter(node.killed))
            kill_process(node, slot)
        assert node.actor(actor).state == "DEAD"
        assert node.brain.pool.available["CPU"] == (0 if prepare == "pending" else 10_000)


def test_kill_with_restart_uses_one_up() -> None:
    node = SimulatedNode()
    actor = node.create_actor(max_restarts=1)
    node.started(actor)
    node.request(m.KillActor(actor, no_restart=False))
    kill_process(node, slot_of(node, actor))
    assert node.actor(actor).state == "ALIVE"
    node.request(m.KillActor(actor, no_restart=False))
    assert node.actor(actor).state == "DEAD"


def test_names_are_taken_once_per_namespace() -> None:
    node = SimulatedNode()
    first = node.create_actor(name="a", namespace="x", handle=b"the handle")
    node.create_actor(name="a", namespace="y")
    message = m.CreateActor(500, 1, b"other", 1, 1, [], b"", DRIVER, name="a", namespace="x")
    refused = node.request(message)
    assert isinstance(refused, m.Failure)
    assert refused.kind == "name_taken"
    assert refused.handle == b"the handle"
    assert node.request(m.NamedActor("a", "x")).actor_id == first
    assert sorted(node.request(m.ListNamedActors()).names) == [("x", "a"), ("y", "a")]
    assert node.request(m.ListNamedActors("y")).names == [("y", "a")]


def test_actors_end_with_their_owner_unless_detached() -> None:
    node = SimulatedNode()
    owner = node.create_actor()
    node.started(owner)
    owner_slot = slot_of(node, owner)
    owned = node.create_actor(slot=owner_slot)
    node.started(owned)
    detached = node.create_actor(slot=owner_slot, detached=True, name="keeper")
    node.started(detached)
    kill_process(node, owner_slot)
    assert node.actor(owned).state == "DEAD"
    assert node.actor(detached).state == "ALIVE"


def test_an_actor_that_leaves_is_not_cut_short_when_its_last_handle_goes_again() -> None:
    node = SimulatedNode()
    actor = node.create_actor()
    record = node.actor(actor).request.record
    node.started(actor)
    node.tell(e.ActorUnreferenced(record))
    node.tell(e.ActorUnreferenced(record))
    assert node.actor(actor).state == "ALIVE"
    assert not node.killed


def test_the_last_handle_ends_an_actor_without_a_kill() -> None:
    node = SimulatedNode()
    actor = node.create_actor()
    record = node.actor(actor).request.record
    node.tell(e.ActorUnreferenced(record))
    assert not node.exiting, "its constructor still runs"
    node.started(actor)
    assert node.exiting == {slot_of(node, actor)}
    kill_process(node, slot_of(node, actor), 76)
    assert node.actor(actor).state == "DEAD"
    assert not node.killed


def test_unscheduled_actors_without_handles_are_dropped() -> None:
    node = SimulatedNode({"CPU": 1.0})
    node.submit(node.queue())
    actor = node.create_actor()
    record = node.actor(actor).request.record
    node.tell(e.ActorUnreferenced(record))
    assert record in node.ended_actors


def test_an_environment_that_fails_is_told_to_the_actor() -> None:
    node = SimulatedNode()
    actor = node.create_actor()
    record = node.actor(actor).request.record
    kill_process(node, slot_of(node, actor), 79)
    assert node.ended_actors[record].kind == "environment_failed"


def test_a_running_actor_may_not_need_more_than_its_creation() -> None:
    node = SimulatedNode()
    small, big = node.register({"CPU": 1}), node.register({"CPU": 2})
    message = m.CreateActor(500, 1, b"other", small, big, [], b"", DRIVER)
    assert node.request(message).kind == "invalid"


def test_a_driver_that_goes_takes_everything_of_its_own_along() -> None:
    node = SimulatedNode()
    mine = node.create_actor()
    node.started(mine)
    kept = node.create_actor(detached=True)
    node.started(kept)
    queue = node.queue()
    node.submit(queue, 2)
    waiting = node.submit(queue, 5)
    orphans = [e.DeadTaskSeen(record, record, queue, 3, "", DRIVER, False, False) for record in waiting]
    node.tell(e.DriverGone(1, DRIVER, orphans, [queue]))
    node.look()
    assert node.actor(mine).state == "DEAD"
    assert node.actor(kept).state == "ALIVE"
    assert all(node.failed[record].kind == "owner_died" for record in waiting)
    assert set(node.killed.values()) >= {"owner_died"}
    for slot in list(node.killed):
        worker = node.slots[slot]
        if worker.running:
            node.die(slot)
        else:
            kill_process(node, slot)
    assert queue not in node.queues, "the queue is free once nobody serves it"


def test_drivers_collect_garbage_when_work_waits_for_what_actors_hold() -> None:
    node = SimulatedNode({"CPU": 1.0})
    queue = node.queue()
    node.submit(queue)
    node.submit(queue)
    node.later(2.0)
    assert not node.notified, "nothing is held by an actor"
    node.finish_all()
    holder = node.create_actor(creation_class_id=1, running_class_id=1)
    node.started(holder)
    waiting = node.create_actor()
    node.later(0.5)
    assert not node.notified
    node.later(1.0)
    assert [item.message for item in node.notified] == [m.CollectGarbage()]
    node.later(5.0)
    assert len(node.notified) == 1, "not at every look"
    assert node.actor(waiting).state == "PENDING_CREATION"
