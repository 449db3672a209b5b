"""What is shown of a node to those who look for waits without an end."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal.core.native import messages as m
from shoal.node.events import ActorReady
from shoal.node.node_view import NodeView
from shoal.node.resources import UNITS
from shoal.node.standstill import Agent, Named

from .simulated_node import DRIVER, SimulatedNode

GROUP = b"g" * 18


@dataclass
class Facts:
    node: SimulatedNode
    embedded: bool = True
    mail: int = 0
    threads: dict[int, bool] = field(default_factory=dict)

    def executions(self, slot: int) -> list[Named]:
        task = self.node.slots[slot].running
        return [(task.record, task.record)] if task else []

    def describe(self, execution: Named) -> str:
        return f"work {execution[0]}"

    def driver_slots(self) -> list[int]:
        return [DRIVER]

    def mailbox_length(self, mailbox: int) -> int:
        return self.mail

    def has_one_thread(self, pid: int) -> bool:
        return self.threads.get(pid, True)

    def queued_name(self, queue: int) -> str:
        return f"task of queue {queue}"


def view_of(node: SimulatedNode) -> tuple[NodeView, Facts]:
    facts = Facts(node)
    return NodeView(node.brain, facts), facts


def test_a_class_needs_its_amounts_and_one_of_a_waiting_group_needs_the_group() -> None:
    node = SimulatedNode({"CPU": 2.0, "GPU": 2.0})
    view, _ = view_of(node)
    need = view.need_of(node.register({"GPU": 1}))
    assert need is not None and need.parts == [{"GPU": UNITS}] and need.pools == [node.brain.pool]
    node.create_actor(creation_class_id=node.register({"GPU": 1}))
    node.request(m.CreatePlacementGroup(GROUP, [{"GPU": 1}, {"GPU": 1}]))
    inside = node.register({"GPU": 1}, placement_group=GROUP)
    need = view.need_of(inside)
    assert need is not None and need.parts == [{"GPU": UNITS}, {"GPU": UNITS}], "all bundles, of the node"
    node.die(next(iter(node.slots)))
    need = view.need_of(inside)
    assert need is not None and need.parts == [{"GPU": UNITS}] and len(need.pools) == 2, "any bundle will do"
    node.request(m.RemovePlacementGroup(GROUP))
    assert view.need_of(inside) is None
    assert view.need_of(999) is None


def test_who_holds_something_is_named_and_who_is_killed_holds_nothing() -> None:
    node = SimulatedNode({"CPU": 3.0})
    view, _ = view_of(node)
    node.started(node.create_actor("counter", cpus=1))
    node.request(m.CreatePlacementGroup(GROUP, [{"CPU": 1}], name="mine"))
    (record,) = node.submit(node.queue())
    names = {holder.name(): holder.ends_by_itself for holder in view.holders_in(node.brain.pool)}
    assert {name.split(" (")[0] for name in names} == {f"work {record}, which waits", "actor counter", "placement group mine"}
    assert sorted(names.values()) == [False, False, True]
    (worker,) = node.running()
    process = node.brain.processes.at(worker.slot)
    assert process is not None
    node.brain.kill_process(process, "cancelled")
    assert len(view.holders_in(node.brain.pool)) == 2


def test_an_actor_waits_for_its_arguments_then_for_resources_then_for_its_constructor() -> None:
    node = SimulatedNode({"CPU": 1.0})
    view, _ = view_of(node)
    first = node.actor(node.create_actor(cpus=1))
    assert view.creation_of(first.request.record, first.request.uid).is_constructing
    node.started(first.actor_id)
    assert view.creation_of(first.request.record, first.request.uid) == view.creation_of(999, 1)
    second = node.actor(node.create_actor(ready=False))
    names = second.request.record, second.request.uid
    assert view.creation_of(*names).follows_arguments
    node.tell(ActorReady(second.request.record))
    need = view.creation_of(*names).need
    assert need is not None and need.parts == [{"CPU": UNITS}]
    assert view.creation_of(second.request.record, 1).need is None, "another actor had the record"
    assert [each.parts for each in view.open_needs()] == [[{"CPU": UNITS}]]


def test_shortages_are_named_and_a_group_stands_for_what_waits_in_it() -> None:
    node = SimulatedNode({"CPU": 1.0})
    view, _ = view_of(node)
    node.started(node.create_actor(cpus=1))
    node.create_actor()
    node.create_actor()
    queue = node.queue()
    node.submit(queue)
    node.request(m.CreatePlacementGroup(GROUP, [{"CPU": 1}], name="mine"))
    node.submit(node.queue(node.register({"CPU": 1}, placement_group=GROUP)))
    told = {shortage.what(): shortage.root for shortage in view.shortages()}
    assert told == {
        "actor Counter (and 1 more like it)": DRIVER,
        f"task of queue {queue}": DRIVER,
        "placement group mine": DRIVER,
    }


def test_agents_are_drivers_and_processes_with_what_they_run() -> None:
    node = SimulatedNode({"CPU": 2.0})
    view, facts = view_of(node)
    node.started(node.create_actor())
    (record,) = node.submit(node.queue())
    (worker,) = node.running()
    (actor,) = [slot for slot in node.slots.values() if slot.actor_id]
    assert view.agents() == [
        Agent(DRIVER, is_driver=True),
        Agent(actor.slot, is_calm=True),
        Agent(worker.slot, ((record, record),)),
    ]
    facts.mail = 1
    assert Agent(actor.slot) in (view.agents() or [])
    facts.mail = 0
    facts.threads[actor.pid] = False
    assert Agent(actor.slot) in (view.agents() or [])


def test_of_some_nobody_knows_what_they_do() -> None:
    node = SimulatedNode({"CPU": 2.0})
    view, facts = view_of(node)
    facts.embedded = False
    assert view.agents() is None, "drivers may connect at any time"
    facts.embedded = True
    assert view.agents() is not None
    node.autofork = False
    node.submit(node.queue())
    assert view.agents() is None, "a process is on its way"


def test_a_constructor_is_an_execution() -> None:
    node = SimulatedNode({"CPU": 2.0})
    view, _ = view_of(node)
    actor = node.actor(node.create_actor())
    assert (view.agents() or [])[1].executions == ((actor.request.record, actor.request.uid),)
