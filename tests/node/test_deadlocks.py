"""Circles of waits, over a task graph that the test makes up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.node.deadlocks import FORGOTTEN_AFTER_S, WARNED_AFTER_S, Deadlocks
from shoal.node.standstill import ANOTHER, EXECUTIONS, ITSELF, WORKERS, Agent

from .test_standstill import System, systems
from .waiting_graph import DRIVER_SLOT, Graph, Node, loop_waiting, named, waiting


class Told:
    """A ``Deadlocks`` that is told of waits; what it answers is an error, a warning or ""."""

    def __init__(self, graph: Graph, node: Node | None = None) -> None:
        self.deadlocks = Deadlocks(graph, node or Node(), lambda execution: f"r{execution[0]}")
        self.warnings: list[str] = []
        self.failed = 0

    def __call__(self, slot: int, message: object, now_s: float) -> str:
        verdict = self.deadlocks.still_waiting(slot, message, now_s)  # type: ignore[arg-type]
        self.warnings += [verdict.warning] if verdict.warning else []
        self.failed = verdict.record or self.failed
        return verdict.error


def two_actors() -> Graph:
    """1 runs in slot 11 and waits for 2, which runs in slot 12 and waits for 3, which is queued behind 1."""
    return Graph({1: (ITSELF, [1]), 2: (ITSELF, [2]), 3: (EXECUTIONS, [1])}, {1: 11, 2: 12})


def test_a_circle_is_told_when_it_is_seen_twice() -> None:
    told = Told(two_actors())
    assert told(11, waiting(1, 2), 0.5) == ""
    assert told(12, waiting(2, 3), 0.6) == ""
    assert told(11, waiting(1, 2), 1.0) == ""
    text = told(12, waiting(2, 3), 1.1)
    assert "r2 waits for r3, which begins only when r1 has ended; r1 waits for r2" in text
    assert told(11, waiting(1, 2), 1.5) == "", "one error is enough: the other wait goes on by it"


def test_everybody_in_the_circle_has_to_tell_of_it_again() -> None:
    told = Told(two_actors())
    told(11, waiting(1, 2), 0.5)
    for now_s in (0.6, 1.1, 1.6):
        assert told(12, waiting(2, 3), now_s) == "", "perhaps the other one goes on by now, and says nothing any more"
    told(11, waiting(1, 2), 2.0)
    assert told(12, waiting(2, 3), 2.1)


def test_who_was_interrupted_waits_no_longer() -> None:
    graph = two_actors()
    told = Told(graph)
    told(11, waiting(1, 2), 0.5)
    told(12, waiting(2, 3), 0.6)
    told(11, waiting(1, 2), 1.0)
    graph.interrupted.add(11)
    assert told(12, waiting(2, 3), 1.2) == ""
    graph.interrupted.clear()
    assert told(12, waiting(2, 3), 1.4)


def test_who_waits_for_a_circle_without_being_in_it_gets_no_error() -> None:
    graph = two_actors()
    graph.slots[4] = 14
    told = Told(graph)
    for now_s in (0.5, 1.0, 1.5):
        assert told(14, waiting(4, 3), now_s) == ""
        told(11, waiting(1, 2), now_s)


def test_an_execution_that_waits_for_itself_is_a_circle() -> None:
    told = Told(Graph({1: (ITSELF, [1])}, {1: 11}))
    assert told(11, waiting(1, 1), 0.5) == ""
    assert "r1 waits for r1" in told(11, waiting(1, 1), 1.0)
    assert told.failed == 1


def test_arguments_and_turns_are_followed() -> None:
    """1 waits for 5, whose argument 6 has its turn after 7, which is queued behind 1."""
    told = Told(Graph({5: (ANOTHER, [6]), 6: (ANOTHER, [7]), 7: (EXECUTIONS, [1])}, {1: 11}))
    assert told(11, waiting(1, 5), 0.5) == ""
    assert "r1 waits for r7" in told(11, waiting(1, 5), 1.0)
    assert told.failed == 5, "what is awaited itself, for a loop that awaits several"


def test_one_free_thread_of_the_actor_is_enough() -> None:
    graph = two_actors()
    graph.obstacles[3] = (EXECUTIONS, [1, 9])
    told = Told(graph)
    for now_s in (0.5, 1.0, 1.5):
        assert told(11, waiting(1, 2), now_s) == ""
        assert told(12, waiting(2, 3), now_s) == ""


def test_a_wait_for_any_of_several_needs_all_of_them_to_stand_still() -> None:
    graph = two_actors()
    told = Told(graph)
    for now_s in (0.5, 1.0, 1.5):
        assert told(11, waiting(1, 2, 8, need=1), now_s) == ""
        assert told(12, waiting(2, 3), now_s) == ""
    graph.obstacles[8] = (EXECUTIONS, [2])
    assert told(11, waiting(1, 2, 8, need=1), 2.0) == ""
    assert told(12, waiting(2, 3), 2.1) == ""
    assert told(11, waiting(1, 2, 8, need=1), 2.5)


def test_a_wait_that_is_not_told_of_any_more_has_ended() -> None:
    told = Told(two_actors())
    told(11, waiting(1, 2), 0.5)
    for later_s in (0.0, 0.5, 1.0):
        assert told(12, waiting(2, 3), 0.5 + FORGOTTEN_AFTER_S + later_s) == ""


def test_an_execution_that_begins_again_elsewhere_has_not_waited_yet() -> None:
    graph = two_actors()
    told = Told(graph)
    told(11, waiting(1, 2), 0.5)
    graph.slots[1] = 13
    for now_s in (0.6, 1.1, 1.6):
        assert told(12, waiting(2, 3), now_s) == ""


def async_actor() -> Graph:
    """The loop of slot 11 runs 1 and 4 and awaits 2, which runs in slot 12 and waits for 3, which is queued behind both."""
    return Graph({2: (ITSELF, [2]), 3: (EXECUTIONS, [1, 4])}, {1: 11, 4: 11, 2: 12})


def test_a_circle_through_a_full_event_loop() -> None:
    told = Told(async_actor())
    assert told(12, waiting(2, 3), 0.5) == ""
    assert told(11, loop_waiting(40, [1, 4], 2), 0.6) == ""
    assert told(12, waiting(2, 3), 1.0) == ""
    text = told(11, loop_waiting(40, [1, 4], 2), 1.1)
    assert "r1 and r4 wait for r2; r2 waits for r3, which begins only when one of r1 and r4 has ended" in text
    assert told.failed == 2


@pytest.mark.parametrize("more", [{"takes_calls": True}, {"may_go_on": True}])
def test_an_event_loop_that_may_go_on_gets_no_error(more: dict[str, bool]) -> None:
    told = Told(async_actor())
    for second in range(12):
        assert told(12, waiting(2, 3), second) == ""
        assert told(11, loop_waiting(40, [1, 4], 2, **more), second + 0.5) == ""
    assert len(told.warnings) == (2 if "may_go_on" in more else 0), "one for each wait in the circle"
    assert all("will not end unless something else ends it" in text for text in told.warnings)


def test_a_call_that_blocks_its_event_loop_and_waits_for_the_next_one() -> None:
    told = Told(Graph({3: (EXECUTIONS, [1, 4])}, {1: 11, 4: 11}))
    message = loop_waiting(40, [1, 4], 3, blocks_loop=True)
    assert told(11, message, 0.5) == ""
    assert "r1 and r4 wait for r3" in told(11, message, 1.0)


def test_a_task_that_holds_what_the_awaited_one_needs() -> None:
    """Whatever the driver does: nothing is known of it."""
    told = Told(Graph({2: (WORKERS, [1])}, {1: 11}), Node(1, {11: 1}))
    assert told(11, waiting(1, 2), 0.5) == ""
    assert "r1 waits for r2, which needs lathe: 0.0001, held by r1" in told(11, waiting(1, 2), 1.0)


def tasks_that_share() -> tuple[Graph, Node]:
    """1 and 2 hold one unit of two each, and wait for work that needs one."""
    graph = Graph({1: (ITSELF, [1]), 2: (ITSELF, [2]), 3: (WORKERS, [1]), 4: (WORKERS, [1])}, {1: 11, 2: 12})
    agents = [Agent(DRIVER_SLOT, is_driver=True), Agent(11, (named(1),)), Agent(12, (named(2),)), Agent(13, is_calm=True)]
    return graph, Node(2, {11: 1, 12: 1}, agents_of=agents)


def rounds(told: Told, driver: object, count: int = 4) -> list[str]:
    errors = []
    for n in range(count):
        errors.append(told(DRIVER_SLOT, driver, n) if driver is not None else "")
        errors.append(told(11, waiting(1, 3), n + 0.2))
        errors.append(told(12, waiting(2, 4), n + 0.4))
    return [error for error in errors if error]


def test_tasks_that_hold_everything_together_and_a_driver_that_waits_for_them() -> None:
    graph, node = tasks_that_share()
    errors = rounds(Told(graph, node), waiting(0, 1, 2), 3)
    assert len(errors) == 1, "one error is enough: the other task's work gets the resource"
    assert "held by r1 and r2" in errors[0]


def test_a_driver_that_does_not_wait_may_end_one_of_them() -> None:
    graph, node = tasks_that_share()
    told = Told(graph, node)
    assert rounds(told, None, 9) == []
    lack = told.deadlocks.lack_of(node.need(1), 9.0)
    assert lack is not None and [holder.slot for holder in lack.holders] == [11, 12], "it is told of the shortage instead"
    assert told.warnings == []


@pytest.mark.parametrize(
    "agents",
    [
        None,
        [Agent(DRIVER_SLOT, is_driver=True), Agent(11, (named(1),)), Agent(12, (named(2),)), Agent(13)],
        [Agent(DRIVER_SLOT, is_driver=True), Agent(11, (named(1),)), Agent(12, (named(2), named(9)))],
        [Agent(DRIVER_SLOT, is_driver=True), Agent(2, is_driver=True), Agent(11, (named(1),)), Agent(12, (named(2),))],
    ],
)
def test_anybody_else_who_is_about_may_end_one_of_them(agents: list[Agent] | None) -> None:
    graph, node = tasks_that_share()
    node.agents_of = agents
    assert rounds(Told(graph, node), waiting(0, 1, 2)) == []


def test_a_driver_that_waits_for_something_that_goes_on_may_end_one_of_them() -> None:
    graph, node = tasks_that_share()
    assert rounds(Told(graph, node), waiting(0, 1, 2, 8, need=1)) == []


def test_a_driver_with_threads_of_its_own_may_end_one_of_them() -> None:
    graph, node = tasks_that_share()
    assert rounds(Told(graph, node), waiting(0, 1, 2, is_alone=False)) == []


def test_what_only_an_idle_actor_holds_is_no_circle() -> None:
    graph, node = tasks_that_share()
    node.held, node.kept = {}, 2
    told = Told(graph, node)
    assert rounds(told, waiting(0, 1, 2)) == []
    lack = told.deadlocks.lack_of(node.need(1), 4.0)
    assert lack is not None and [holder.name() for holder in lack.holders] == ["keeper"]
    assert told.deadlocks.lack_of(node.need(0), 4.0) is None


def test_what_an_idle_actor_holds_too_proves_nothing() -> None:
    """Its last handle may be in a driver's garbage."""
    graph, node = tasks_that_share()
    node.units, node.kept = 3, 1
    node.__post_init__()
    assert rounds(Told(graph, node), waiting(0, 1, 2)) == []


def test_nothing_is_lacking_that_tasks_give_back() -> None:
    node = Node(2, {11: 1, 12: 1})
    told = Told(Graph({}, {1: 11}), node)
    assert told.deadlocks.lack_of(node.need(2), 0.0) is None


def test_warned_of_is_only_what_lasts() -> None:
    told = Told(async_actor())
    for now_s in (0.0, WARNED_AFTER_S - 0.1):
        told(12, waiting(2, 3), now_s)
        told(11, loop_waiting(40, [1, 4], 2, may_go_on=True), now_s)
    assert told.warnings == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_only_executions_that_nothing_can_end_are_told_so(edges: list[tuple[int, int]]) -> None:
    """Each execution waits for all others it has an edge to. It is in a circle exactly when it reaches itself, and everything
    it reaches waits."""
    waits = {n: sorted({b + 1 for a, b in edges if a + 1 == n}) for n in range(1, 7)}
    told = Told(Graph({n: (ITSELF, [n]) for n in waits}, {n: n + 10 for n in waits}))
    victims: list[int] = []
    for turn in range(3):
        for n in [n for n in waits if waits[n]]:
            if not victims and told(n + 10, waiting(n, *waits[n]), turn + n / 10):
                victims.append(n)

    def reaches(a: int, b: int) -> bool:
        seen: set[int] = set()
        todo = list(waits[a])
        while todo:
            c = todo.pop()
            if c == b:
                return True
            if c not in seen:
                seen.add(c)
                todo += waits[c]
        return False

    assert all(reaches(n, n) for n in victims)
    assert bool(victims) == any(reaches(n, n) for n in waits)


@settings(max_examples=60)
@given(systems(), st.booleans())
def test_an_error_is_given_exactly_when_no_history_ends_the_wait(system: System, driver_waits: bool) -> None:
    told = Told(Graph(system.records, {n: n + 10 for n in system.waits}), node := system.node())
    node.agents_of = [Agent(DRIVER_SLOT, is_driver=True), *(Agent(n + 10, (named(n),)) for n in system.waits)]
    node.agents_of += [Agent(n + 10, is_calm=True) for n in system.held if n not in system.waits]
    victims: list[int] = []
    for turn in range(3):
        if driver_waits:
            told(DRIVER_SLOT, waiting(0, *(20 + 3 * n for n in system.waits)), turn)
        for n, (awaited, need) in sorted(system.waits.items()):
            if not victims and told(n + 10, waiting(n, *awaited, need=need), turn + n / 10):
                victims.append(n)
    everybody = set(system.held)
    hopeless = set(system.waits) - system.may_end(everybody)
    assert set(victims) <= hopeless
    closed = {n for n in hopeless if n not in system.may_end({n})}
    assert bool(victims) or not closed
    driver_is_stuck = all(
        not system.is_there(20 + 3 * n, frozenset(system.may_end(everybody)), everybody) for n in system.waits
    )
    if driver_waits and driver_is_stuck and hopeless == set(system.waits):
        assert bool(victims) == bool(hopeless)
