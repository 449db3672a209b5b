"""What becomes of work when processes die; and random histories that must keep the books right and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shoal.core.native import messages as m
from shoal.node import events as e

from .simulated_node import DRIVER, SimulatedNode


def test_a_task_with_retries_runs_again() -> None:
    node = SimulatedNode()
    queue = node.queue()
    (record,) = node.submit(queue, retries=1)
    node.die(node.running()[0].slot)
    assert node.running(queue)[0].running.record == record  # type: ignore[union-attr]
    node.die(node.running()[0].slot, -11, peak_bytes=3 * 2**20, log_tail="oops")
    error = node.failed[record]
    assert error.kind == "worker_crashed"
    assert "SIGSEGV" in error.message
    assert "3 MiB" in error.message
    assert "oops" in error.message


@pytest.mark.parametrize(("code", "words"), [(-9, "SIGKILL"), (3, "exited with code 3"), (0, "exited with code 0")])
def test_a_death_is_told_with_its_status(code: int, words: str) -> None:
    node = SimulatedNode()
    (record,) = node.submit(node.queue())
    node.die(node.running()[0].slot, code)
    assert words in node.failed[record].message


def test_a_killed_task_is_cancelled_and_not_retried() -> None:
    node = SimulatedNode()
    (record,) = node.submit(node.queue(), retries=-1)
    slot = node.running()[0].slot
    process = node.brain.processes.at(slot)
    assert process is not None
    node.running()[0].running.cancelled = True
    node.brain.kill_process(process, "cancelled")
    node.look()
    assert node.killed[slot] == "cancelled"
    node.die(slot)
    assert node.failed[record].kind == "cancelled"


def test_a_task_that_began_as_its_worker_was_killed_for_another_runs_again() -> None:
    node = SimulatedNode()
    (record,) = node.submit(node.queue(), retries=0)
    slot = node.running()[0].slot
    process = node.brain.processes.at(slot)
    assert process is not None
    node.brain.kill_process(process, "cancelled")
    node.die(slot)
    assert record not in node.failed
    node.finish_all()
    assert node.finished == [record]


def test_too_little_memory_ends_the_victim_with_the_table() -> None:
    node = SimulatedNode()
    (record,) = node.submit(node.queue())
    slot = node.running()[0].slot
    node.tell(e.MemoryShort(slot, "the node used 99 %"))
    node.die(slot)
    assert node.failed[record].kind == "out_of_memory"
    assert "99 %" in node.failed[record].message


def test_what_a_dead_worker_had_submitted_ends_with_it() -> None:
    node = SimulatedNode()
    node.submit(node.queue())
    parent = node.running()[0].slot
    children = node.queue(owner=parent)
    records = node.submit(children, 3)
    assert len(node.running(children)) == 1
    node.die(parent)
    assert set(node.killed.values()) == {"owner_died"}
    for slot in list(node.killed):
        node.die(slot)
    assert {node.failed[record].kind for record in records} == {"owner_died"}
    assert children not in node.queues


def test_what_a_dead_worker_had_submitted_ends_though_nobody_has_seen_it_begin() -> None:
    node = SimulatedNode()
    node.submit(node.queue())
    parent = node.running()[0].slot
    children = node.queue(owner=parent)
    node.submit(children)
    child = node.running(children)[0].slot
    process = node.brain.processes.at(child)
    assert process is not None
    process.running = 0  # it has begun since the last look
    node.die(parent)
    node.look()
    assert node.killed == {child: "owner_died"}


def test_a_worker_recycled_after_max_calls_is_replaced_without_an_error() -> None:
    node = SimulatedNode()
    queue = node.queue()
    node.submit(queue)
    slot = node.running()[0].slot
    node.finish(slot)
    node.die(slot, 77)
    node.submit(queue)
    assert len(node.running(queue)) == 1
    assert not node.failed


def test_an_environment_that_fails_fails_its_tasks_once_and_for_all() -> None:
    node = SimulatedNode()
    queue = node.queue(node.register({"CPU": 1}, runtime_env="{}"))
    node.autofork = False
    records = node.submit(queue, 3)
    for slot in list(node.slots):
        node.die(slot, 79, log_tail="no such folder")
    assert {node.failed[record].kind for record in records} == {"environment_failed"}
    assert not node.slots


def test_workers_that_die_at_once_are_not_forked_for_ever() -> None:
    node = SimulatedNode({"CPU": 1.0})
    queue = node.queue()
    node.autofork = False
    (record,) = node.submit(queue)
    deaths = 0
    while record not in node.failed:
        node.die(next(iter(node.slots)), 1)
        deaths += 1
        assert deaths < 10
    assert "before they could run anything" in node.failed[record].message


def test_only_deaths_in_a_row_end_the_forking_and_kills_are_forgiven_longer() -> None:
    node = SimulatedNode({"CPU": 1.0})
    queue = node.queue()
    node.autofork = False
    (record,) = node.submit(queue, retries=-1)
    for _ in range(10):
        for _ in range(4):
            node.die(next(iter(node.slots)), 1)
        node.fork_all()
        (worker,) = node.running()
        node.die(worker.slot, 1)
    for _ in range(40):
        node.die(next(iter(node.slots)), -9)
    assert record not in node.failed
    for _ in range(10):
        node.die(next(iter(node.slots)), -9)
    assert "before they could run anything" in node.failed[record].message


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (m.RegisterClass({"CPU": 3}), "infeasible"),
        (m.RegisterClass({"CPU": -1}), "invalid"),
        (m.RegisterClass({"GPU": 1}), "infeasible"),
        (m.RegisterClass({}, label_selector={"zone": "a"}), "infeasible"),
        (m.RegisterClass({}, strategy="NODE_AFFINITY", node_id="other"), "unschedulable"),
        (m.GetActorInfo(b"none"), "not_found"),
        (m.KillActor(b"none"), "not_found"),
        (m.NamedActor("none", ""), "not_found"),
        (m.GetWorkerInfo(77), "not_found"),
    ],
)
def test_what_cannot_be_is_refused_at_once(request_: m.Request, kind: str) -> None:
    answer = SimulatedNode().request(request_)
    assert isinstance(answer, m.Failure)
    assert answer.kind == kind


def test_an_infeasible_request_names_what_is_missing() -> None:
    answer = SimulatedNode({"CPU": 2.0}).request(m.RegisterClass({"CPU": 2, "rare": 5}))
    assert "rare: 5 of 0" in answer.message
    assert "CPU" not in answer.message


def test_fallbacks_and_soft_affinity_are_tried() -> None:
    node = SimulatedNode(labels={"zone": "b"})
    assert node.register({}, label_selector={"zone": "a"}, fallback_label_selectors=[{"zone": "b"}])
    assert node.register({}, strategy="NODE_AFFINITY", node_id="other", soft=True)
    assert node.register({}, strategy="NODE_AFFINITY", node_id="node-1")


def test_equal_classes_have_one_number() -> None:
    node = SimulatedNode()
    assert node.register({"CPU": 1.0}) == 1
    assert node.register({"CPU": 0.5}) == node.register({"CPU": 0.5})
    assert node.register({"CPU": 0.5}) != node.register({"CPU": 0.5}, runtime_env="{}")


def test_leases_without_work_count_as_available() -> None:
    node = SimulatedNode({"CPU": 2.0})
    node.submit(node.queue(), 2)
    assert "CPU" not in node.request(m.AvailableResources()).resources
    node.finish(node.running()[0].slot)
    assert node.request(m.AvailableResources()).resources["CPU"] == 1.0
    assert node.request(m.ClusterResources()).resources["CPU"] == 2.0


def test_the_key_value_store_answers() -> None:
    node = SimulatedNode()
    assert not node.request(m.KeyValuePut(b"n", b"k1", b"v")).value
    assert node.request(m.KeyValuePut(b"n", b"k1", b"w", overwrite=False)).value
    assert node.request(m.KeyValueGet(b"n", b"k1")).value == b"v"
    assert node.request(m.KeyValueGet(b"other", b"k1")).value is None
    assert node.request(m.KeyValueExists(b"n", b"k1")).value
    node.request(m.KeyValuePut(b"n", b"k2", b""))
    assert node.request(m.KeyValueList(b"n", b"k")).keys == [b"k1", b"k2"]
    assert node.request(m.KeyValueDelete(b"n", b"k", by_prefix=True)).value == 2
    assert node.request(m.KeyValueList(b"n")).keys == []


def test_first_workers_are_leased_before_anybody_looks() -> None:
    node = SimulatedNode({"CPU": 2.0})
    queue = node.queue()
    numbers = node.brain.start_workers(2, queue, DRIVER)
    assert len(numbers) == 2
    assert node.brain.pool.available["CPU"] == 0
    node.brain.validate_state()


class RandomHistory(RuleBasedStateMachine):
    """Tasks, nested tasks, actors and groups under random deaths: the books agree (the simulated node checks them at every
    event), every task ends once, and when everybody has finished, everything is free."""

    def __init__(self) -> None:
        super().__init__()
        self.node = SimulatedNode({"CPU": 3.0, "GPU": 2.0, "memory": 10.0})
        shapes: list[dict[str, float]] = [{"CPU": 1}, {"CPU": 0.5}, {}, {"CPU": 2}, {"GPU": 0.5}, {"GPU": 1, "memory": 4}]
        self.classes = [self.node.register(shape) for shape in shapes]
        self.submitted: list[int] = []
        self.actors: list[bytes] = []
        self.groups = 0

    @rule(kind=st.integers(0, 5), count=st.integers(1, 6), retries=st.integers(-1, 2))
    def submit(self, kind: int, count: int, retries: int) -> None:
        self.submitted += self.node.submit(self.node.queue(self.classes[kind]), count, retries)

    @precondition(lambda self: self.node.running())
    @rule(index=st.integers(0, 50), kind=st.integers(0, 5))
    def nest(self, index: int, kind: int) -> None:
        busy = self.node.running()
        worker = busy[index % len(busy)]
        self.submitted += self.node.submit(self.node.queue(self.classes[kind], worker.slot), 2)
        self.node.block(worker.slot)

    @rule(index=st.integers(0, 50))
    def wake(self, index: int) -> None:
        blocked = [worker for worker in self.node.slots.values() if worker.blocked]
        if blocked:
            self.node.block(blocked[index % len(blocked)].slot, False)

    @precondition(lambda self: self.node.running())
    @rule(index=st.integers(0, 50))
    def finish(self, index: int) -> None:
        busy = self.node.running()
        self.node.finish(busy[index % len(busy)].slot)

    @precondition(lambda self: self.node.slots)
    @rule(index=st.integers(0, 50), code=st.sampled_from([-9, 0, 1, 77]))
    def die(self, index: int, code: int) -> None:
        self.node.die(list(self.node.slots)[index % len(self.node.slots)], code)

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.1, 2.5]))
    def wait(self, seconds: float) -> None:
        self.node.later(seconds)
        for slot in sorted(self.node.exiting & self.node.slots.keys()):
            if not self.node.slots[slot].running:
                self.node.die(slot, 0)

    @rule(restarts=st.integers(-1, 1), ready=st.booleans())
    def create_actor(self, restarts: int, ready: bool) -> None:
        self.actors.append(self.node.create_actor(max_restarts=restarts, ready=ready))

    @precondition(lambda self: self.actors)
    @rule(index=st.integers(0, 50), what=st.sampled_from(["started", "failed", "kill", "unreferenced"]))
    def change_actor(self, index: int, what: str) -> None:
        actor = self.node.actor(self.actors[index % len(self.actors)])
        if actor is None or actor.state == "DEAD":
            return
        record = actor.request.record
        if what == "started" and record in self.node.brain.actors.starting:
            self.node.started(actor.actor_id)
        elif what == "failed" and record in self.node.brain.actors.starting:
            self.node.tell(e.ActorInitFailed(record))
        elif what == "kill":
            self.node.request(m.KillActor(actor.actor_id))
        elif what == "unreferenced":
            self.node.tell(e.ActorUnreferenced(record))

    @rule(cpus=st.sampled_from([0.5, 1, 2, 5]))
    def create_group(self, cpus: float) -> None:
        self.groups += 1
        self.node.request(m.CreatePlacementGroup(self.groups.to_bytes(16, "big"), [{"CPU": cpus}, {"CPU": 0.5}]))

    @precondition(lambda self: self.groups)
    @rule(index=st.integers(0, 50))
    def remove_group(self, index: int) -> None:
        self.node.request(m.RemovePlacementGroup((index % self.groups + 1).to_bytes(16, "big")))

    @rule(name=st.integers(0, 3), cpus=st.sampled_from([0.5, 1.0]), count=st.integers(0, 3), actor=st.booleans())
    def use_environment(self, name: int, cpus: float, count: int, actor: bool) -> None:
        class_id = self.node.register({"CPU": cpus}, runtime_env=f'{{"pip": {{"packages": ["{name}"]}}}}')
        self.submitted += self.node.submit(self.node.queue(class_id), count)
        if actor:
            self.actors.append(self.node.create_actor(creation_class_id=class_id))

    @precondition(lambda self: self.node.preparing)
    @rule(index=st.integers(0, 50), succeeds=st.booleans())
    def answer_for_environment(self, index: int, succeeds: bool) -> None:
        environment, _ = self.node.preparing[index % len(self.node.preparing)]
        self.node.preparing = [each for each in self.node.preparing if each[0] != environment]
        self.node.tell(e.EnvironmentReady(environment) if succeeds else e.EnvironmentFailed(environment, "no such package"))

    @precondition(lambda self: self.node.killed)
    @rule()
    def killed_processes_die(self) -> None:
        while self.node.killed:  # a death may have others killed
            slot, _ = self.node.killed.popitem()
            if slot in self.node.slots:
                self.node.die(slot)

    @invariant()
    def every_task_ends_once(self) -> None:
        assert len(self.node.finished) == len(set(self.node.finished))

    def teardown(self) -> None:
        node = self.node
        for number in range(1, self.groups + 1):
            node.request(m.RemovePlacementGroup(number.to_bytes(16, "big")))
        while node.preparing:
            self.answer_for_environment(0, True)
        for actor_id in self.actors:
            node.request(m.KillActor(actor_id))
        for _ in range(3000):
            self.killed_processes_die()
            blocked = [worker for worker in node.slots.values() if worker.blocked]
            if blocked:
                node.block(blocked[-1].slot, False)
            elif node.running():
                node.finish(node.running()[0].slot)
            elif any(queue.tasks for queue in node.queues.values()):
                node.later(0.06)
            else:
                break
        for _ in range(4):
            self.killed_processes_die()
            self.wait(2.5)
        lost = set(self.submitted) - set(node.finished) - set(node.failed)
        assert not lost
        holders = [process for process in node.brain.processes if process.holding]
        assert node.brain.pool.available == node.brain.pool.total, holders
        assert not node.starving


RandomHistory.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # a failing history is short enough to read; shrinking takes minutes
    derandomize=True,
)
TestRandomHistory = RandomHistory.TestCase
