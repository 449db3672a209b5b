"""The set of waits that none of them ends, against a search through everything that could happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.node.standstill import ANOTHER, EXECUTIONS, GOES_ON, ITSELF, NO_PROCESS, WORKERS, Creation, Standstill, Wait

from .waiting_graph import Graph, Node, loop_waiting, named, waiting

SIZE = 4
KINDS = (GOES_ON, ITSELF, EXECUTIONS, WORKERS)


@dataclass
class System:
    """Executions 1 to SIZE, each in a slot of its own ten above, each with units of one resource. Record 20 + n is awaited by
    some: it goes on, runs as an execution, is queued behind executions, or needs units."""

    units: int
    held: dict[int, int]
    waits: dict[int, tuple[list[int], int]]
    records: dict[int, tuple[int, list[int]]]
    kept: int = 0

    def is_there(self, record: int, ended: frozenset[int], counted: set[int]) -> bool:
        """Whether the record can be ready once these executions have ended, when only ``counted`` ones hold what they have."""
        kind, others = self.records[record]
        if kind == WORKERS:
            taken = sum(units for n, units in self.held.items() if n in counted and n not in ended)
            return self.units - self.kept - taken >= others[0]
        return kind == GOES_ON or any(n in ended for n in others)

    def may_end(self, counted: set[int]) -> set[int]:
        """All executions that end in some history: every order is tried."""
        reached: set[int] = set()
        seen: set[frozenset[int]] = set()
        todo = [frozenset[int]()]
        while todo:
            ended = todo.pop()
            if ended in seen:
                continue
            seen.add(ended)
            reached |= ended
            for n in range(1, SIZE + 1):
                awaited, need = self.waits.get(n, ([], 0))
                if n not in ended and sum(self.is_there(record, ended, counted) for record in awaited) >= need:
                    todo.append(ended | {n})
        return reached

    def node(self) -> Node:
        return Node(self.units, {n + 10: units for n, units in self.held.items()}, self.kept)

    def standstill(self, **mode: Any) -> Standstill:
        graph, node = Graph(self.records, {}), self.node()
        waits = [Wait(n + 10, waiting(n, *awaited, need=need), 0.0) for n, (awaited, need) in self.waits.items()]
        return Standstill({wait.key: wait for wait in waits}, graph, node, **mode)


@st.composite
def systems(draw: st.DrawFn) -> System:
    numbers = list(range(1, SIZE + 1))
    held = {n: draw(st.integers(0, 2)) for n in numbers}
    units = max(1, sum(held.values())) + draw(st.integers(0, 1))
    records: dict[int, tuple[int, list[int]]] = {}
    waits: dict[int, tuple[list[int], int]] = {}
    for n in draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True)):
        awaited = [20 + 3 * n + k for k in range(draw(st.integers(1, 3)))]
        for record in awaited:
            kind = draw(st.sampled_from(KINDS))
            if kind == WORKERS:
                records[record] = kind, [draw(st.integers(1, min(3, units)))]  # what never fits is refused at once
            else:
                most = {GOES_ON: 0, ITSELF: 1, EXECUTIONS: 2}[kind]
                others = draw(st.lists(st.sampled_from(numbers), min_size=min(1, most), max_size=most, unique=True))
                records[record] = kind, others
        waits[n] = awaited, draw(st.integers(1, len(awaited)))
    return System(units, held, waits, records)


@settings(max_examples=60)
@given(systems())
def test_in_the_set_are_those_that_end_in_no_history(system: System) -> None:
    standstill = system.standstill()
    ending = system.may_end(set(range(1, SIZE + 1)))
    assert {n for n in system.waits if (n + 10, 0, n) in standstill} == set(system.waits) - ending


@settings(max_examples=60)
@given(systems(), st.integers(1, SIZE))
def test_what_one_process_closes_stays_closed_whatever_others_give_back(system: System, n: int) -> None:
    standstill = system.standstill(holding_slot=n + 10)
    # The rest may give back what it holds at any time; who tells of it keeps its own for as long as it waits.
    key = (n + 10, 0, n)
    assert (key in standstill) == (n in system.waits and n not in system.may_end({n}))
    assert key not in standstill or key in system.standstill()


@settings(max_examples=60)
@given(systems(), st.integers(1, 2))
def test_what_actors_keep_holds_up_more(system: System, kept: int) -> None:
    before = system.standstill()
    system.kept = min(kept, system.units)
    after = system.standstill(until_ended=True)
    ending = system.may_end(set(range(1, SIZE + 1)))
    assert {n for n in system.waits if (n + 10, 0, n) in after} == set(system.waits) - ending
    again = system.standstill()
    assert all(((n + 10, 0, n) in before) == ((n + 10, 0, n) in again) for n in system.waits), "unless somebody ends the actor"


def test_an_event_loop_goes_on_when_any_of_what_it_awaits_is_there() -> None:
    graph = Graph({5: (EXECUTIONS, [1]), 6: (GOES_ON, [])}, {})
    stuck = Wait(11, loop_waiting(40, [1, 2], 5), 0.0)
    free = Wait(11, loop_waiting(40, [1, 2], 5, 6), 0.0)
    assert stuck.key in Standstill({stuck.key: stuck}, graph, Node())
    assert free.key not in Standstill({free.key: free}, graph, Node())


def test_an_event_loop_with_room_takes_what_is_queued_behind_its_calls() -> None:
    graph = Graph({5: (EXECUTIONS, [1]), 6: (ITSELF, [1])}, {})
    for awaited, is_stuck in ((5, False), (6, True)):
        wait = Wait(11, loop_waiting(40, [1], awaited, takes_calls=True), 0.0)
        assert (wait.key in Standstill({wait.key: wait}, graph, Node())) == is_stuck
        assert wait.key not in Standstill({wait.key: wait}, graph, Node(), holding_slot=11), "a new call may change everything"


def test_an_actor_that_waits_for_resources_holds_up_its_calls() -> None:
    graph = Graph({5: (NO_PROCESS, [30])}, {})
    wait = Wait(11, waiting(1, 5), 0.0)
    node = Node(1, {11: 1})
    for creation, is_stuck in (
        (Creation(), False),
        (Creation(need=node.need(1)), True),
        (Creation(is_constructing=True), False),
        (Creation(follows_arguments=True), False),
    ):
        node.creations[30] = creation
        assert (wait.key in Standstill({wait.key: wait}, graph, node)) == is_stuck


def test_a_constructor_that_waits_holds_up_the_calls_of_its_actor() -> None:
    graph = Graph({5: (NO_PROCESS, [30]), 6: (ITSELF, [1])}, {})
    node = Node(creations={30: Creation(is_constructing=True)})
    waits = [Wait(11, waiting(1, 5), 0.0), Wait(12, waiting(30, 6), 0.0)]
    standstill = Standstill({wait.key: wait for wait in waits}, graph, node)
    assert all(wait.key in standstill for wait in waits)


def test_the_arguments_of_an_actor_are_followed() -> None:
    graph = Graph({5: (NO_PROCESS, [30]), 30: (ANOTHER, [6]), 6: (ITSELF, [1])}, {})
    wait = Wait(11, waiting(1, 5), 0.0)
    standstill = Standstill({wait.key: wait}, graph, Node(creations={30: Creation(follows_arguments=True)}))
    [(awaited, hold, others)] = standstill.ways_from(wait.key)
    assert (awaited, hold.last, others) == (named(5), named(6), [wait.key])


def test_threads_that_wait_lend_their_cpu_and_event_loops_do_not() -> None:
    from shoal.node.resources import CPU, Allocation, ResourcePool
    from shoal.node.shortages import Holder, Need

    class OneCpu(Node):
        cpu_pool = ResourcePool({CPU: 1})

        def need_of(self, class_id: int) -> Need:
            return Need([{CPU: 1}], [self.cpu_pool])

        def holders_in(self, pool: ResourcePool) -> list[Holder]:
            return [Holder(11, lambda: "s11", Allocation({CPU: 1}))]

    graph = Graph({5: (WORKERS, [1])}, {})
    for message, is_stuck in (
        (waiting(1, 5), False),
        (loop_waiting(40, [1], 5), True),
        (loop_waiting(40, [1], 5, blocks_loop=True), False),
    ):
        wait = Wait(11, message, 0.0)
        assert (wait.key in Standstill({wait.key: wait}, graph, OneCpu())) == is_stuck
