"""Circles of waits, over a task graph that the test makes up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shoal.core.native.messages import StillWaiting
from shoal.node.deadlocks import ANOTHER, EXECUTIONS, FORGOTTEN_AFTER_S, GOES_ON, ITSELF, Deadlocks, Named


class Graph:
    """``obstacles``: of each record, as the kernel tells them; ``slots``: where a record runs. A record's uid is 100 more."""

    def __init__(self, obstacles: dict[int, tuple[int, list[int]]], slots: dict[int, int]) -> None:
        self.obstacles = obstacles
        self.slots = slots

    def obstacle(self, record: int, uid: int) -> tuple[int, list[Named]]:
        assert uid == record + 100
        kind, others = self.obstacles.get(record, (GOES_ON, []))
        return kind, [(other, other + 100) for other in others]

    def running_slot(self, record: int, uid: int) -> int:
        return self.slots.get(record, 0)


def watch(graph: Graph) -> Deadlocks:
    return Deadlocks(graph, lambda execution: f"r{execution[0]}")


def waiting(record: int, *awaited: int, need: int | None = None) -> StillWaiting:
    return StillWaiting(record, record + 100, [(i, i + 100) for i in awaited], len(awaited) if need is None else need)


def two_actors() -> Graph:
    """1 runs in slot 11 and waits for 2, which runs in slot 12 and waits for 3, which is queued behind 1."""
    return Graph({1: (ITSELF, [1]), 2: (ITSELF, [2]), 3: (EXECUTIONS, [1])}, {1: 11, 2: 12})


def test_a_circle_is_told_when_it_is_seen_twice() -> None:
    deadlocks = watch(two_actors())
    assert deadlocks.still_waiting(11, waiting(1, 2), 0.5) == ""
    assert deadlocks.still_waiting(12, waiting(2, 3), 0.6) == ""
    assert deadlocks.still_waiting(11, waiting(1, 2), 1.0) == ""
    text = deadlocks.still_waiting(12, waiting(2, 3), 1.1)
    assert "r2 waits for r3, which begins only when r1 has ended; r1 waits for r2" in text
    assert deadlocks.still_waiting(11, waiting(1, 2), 1.5) == "", "one error is enough: the other wait goes on by it"


def test_who_waits_for_a_circle_without_being_in_it_gets_no_error() -> None:
    deadlocks = watch(two_actors())
    deadlocks._arena.slots[4] = 14  # type: ignore[attr-defined]
    for now_s in (0.5, 1.0, 1.5):
        assert deadlocks.still_waiting(14, waiting(4, 3), now_s) == ""
        deadlocks.still_waiting(11, waiting(1, 2), now_s)


def test_an_execution_that_waits_for_itself_is_a_circle() -> None:
    deadlocks = watch(Graph({1: (ITSELF, [1])}, {1: 11}))
    assert deadlocks.still_waiting(11, waiting(1, 1), 0.5) == ""
    assert "r1 waits for r1" in deadlocks.still_waiting(11, waiting(1, 1), 1.0)


def test_arguments_and_turns_are_followed() -> None:
    """1 waits for 5, whose argument 6 has its turn after 7, which is queued behind 1."""
    graph = Graph({5: (ANOTHER, [6]), 6: (ANOTHER, [7]), 7: (EXECUTIONS, [1])}, {1: 11})
    deadlocks = watch(graph)
    assert deadlocks.still_waiting(11, waiting(1, 5), 0.5) == ""
    assert "r1 waits for r7" in deadlocks.still_waiting(11, waiting(1, 5), 1.0)


def test_one_free_thread_of_the_actor_is_enough() -> None:
    graph = two_actors()
    graph.obstacles[3] = (EXECUTIONS, [1, 9])
    deadlocks = watch(graph)
    for now_s in (0.5, 1.0, 1.5):
        assert deadlocks.still_waiting(11, waiting(1, 2), now_s) == ""
        assert deadlocks.still_waiting(12, waiting(2, 3), now_s) == ""


def test_a_wait_for_any_of_several_needs_all_of_them_to_stand_still() -> None:
    graph = two_actors()
    deadlocks = watch(graph)
    for now_s in (0.5, 1.0, 1.5):
        assert deadlocks.still_waiting(11, waiting(1, 2, 8, need=1), now_s) == ""
        assert deadlocks.still_waiting(12, waiting(2, 3), now_s) == ""
    graph.obstacles[8] = (EXECUTIONS, [2])
    assert deadlocks.still_waiting(11, waiting(1, 2, 8, need=1), 2.0) == ""
    assert deadlocks.still_waiting(11, waiting(1, 2, 8, need=1), 2.5)


def test_a_wait_that_is_not_told_of_any_more_has_ended() -> None:
    deadlocks = watch(two_actors())
    deadlocks.still_waiting(11, waiting(1, 2), 0.5)
    for later_s in (0.0, 0.5, 1.0):
        assert deadlocks.still_waiting(12, waiting(2, 3), 0.5 + FORGOTTEN_AFTER_S + later_s) == ""


def test_an_execution_that_begins_again_elsewhere_has_not_waited_yet() -> None:
    graph = two_actors()
    deadlocks = watch(graph)
    deadlocks.still_waiting(11, waiting(1, 2), 0.5)
    graph.slots[1] = 13
    for now_s in (0.6, 1.1, 1.6):
        assert deadlocks.still_waiting(12, waiting(2, 3), now_s) == ""


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_only_executions_that_nothing_can_end_are_told_so(edges: list[tuple[int, int]]) -> None:
    """Each execution waits for all others it has an edge to. It is in a circle exactly when it reaches itself, and everything
    it reaches waits."""
    waits = {n: sorted({b for a, b in edges if a == n}) for n in range(6)}
    graph = Graph({n: (ITSELF, [n]) for n in range(6)}, {n: n + 1 for n in range(6)})
    deadlocks = watch(graph)
    told = dict.fromkeys(range(6), "")
    for n in [n for n in range(6) if waits[n]] * 2:
        if not any(told.values()):
            told[n] = deadlocks.still_waiting(n + 1, waiting(n, *waits[n]), 1.0)

    def stuck(n: int) -> bool:
        """Whether some way from here leads back to a place on it."""
        return any(reaches(m, m) for m in range(6) if m == n or reaches(n, m))

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

    victims = [n for n in range(6) if told[n]]
    assert all(reaches(n, n) for n in victims)
    assert bool(victims) == any(stuck(n) for n in range(6))
