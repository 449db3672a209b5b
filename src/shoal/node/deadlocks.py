"""Finds executions that wait for each other in a circle.

An execution that waits for longer than half a second without a time limit says so, again and again. What it waits for is
followed through the task graph: an unsealed record runs (and perhaps waits itself), waits for an argument or for its turn, or
is queued behind what its actor runs. Whatever is not known to stand still counts as going on, so that no wait ends that could
have succeeded: waits with a time limit, ``await``, threads of the user, what tasks in a queue need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from shoal.core.native.messages import StillWaiting

FORGOTTEN_AFTER_S = 10.0
"""A wait that is not told of for so long has ended: it is told of at least every two seconds."""

GOES_ON, ITSELF, ANOTHER, EXECUTIONS = range(4)  # see _kernel.obstacle

Named = tuple[int, int]  # a record and its uid


class Arena(Protocol):
    """What is asked of the arena (``shoal._kernel``)."""

    def obstacle(self, record: int, uid: int) -> tuple[int, list[Named]]: ...
    def running_slot(self, record: int, uid: int) -> int: ...


class Wait(NamedTuple):
    slot: int
    message: StillWaiting
    told_s: float

    @property
    def execution(self) -> Named:
        return self.message.record, self.message.uid


class Step(NamedTuple):
    """On the way from one execution to the next: the record that the first one waits for in the end."""

    execution: Named
    awaited: Named
    is_queued: bool  # behind the next execution; else that one is what is awaited


class Deadlocks:
    def __init__(self, arena: Arena, describe: Callable[[Named], str]) -> None:
        self._arena = arena
        self._describe = describe
        self._waits: dict[Named, Wait] = {}
        self._suspects: set[Named] = set()

    def still_waiting(self, slot: int, message: StillWaiting, now_s: float) -> str:
        """What is wrong with the wait: "" as long as it may end. A circle is certain when it is seen twice."""
        told = Wait(slot, message, now_s)
        self._waits[told.execution] = told
        self._forget(now_s)
        circle = self._circle(told.execution, self._stuck())
        if not circle:
            self._suspects.discard(told.execution)
            return ""
        if told.execution not in self._suspects:
            self._suspects.add(told.execution)
            return ""
        self._suspects.discard(told.execution)
        del self._waits[told.execution]  # it goes on, with an error
        return self._text(circle)

    def _forget(self, now_s: float) -> None:
        self._waits = {
            execution: wait
            for execution, wait in self._waits.items()
            if now_s - wait.told_s < FORGOTTEN_AFTER_S and self._arena.running_slot(*execution) == wait.slot
        }
        self._suspects &= self._waits.keys()

    def _stuck(self) -> set[Named]:
        """The largest set of waiting executions of which none can go on unless another one of them does."""
        stuck = set(self._waits)
        changed = True
        while changed:
            free = {execution for execution in stuck if self._can_end(self._waits[execution], stuck)}
            stuck -= free
            changed = bool(free)
        return stuck

    def _can_end(self, wait: Wait, stuck: set[Named]) -> bool:
        hopeful = sum(not self._blockers(awaited, stuck)[1] for awaited in wait.message.awaited)
        return hopeful >= wait.message.need

    def _blockers(self, awaited: Named, stuck: set[Named]) -> tuple[Named, list[Named]]:
        """The record that stands still in the end, and the executions that hold it up; none when something goes on."""
        seen: set[Named] = set()
        while awaited not in seen:
            seen.add(awaited)
            kind, others = self._arena.obstacle(*awaited)
            if kind == ANOTHER:
                awaited = others[0]
                continue
            holding = [] if kind == GOES_ON or not all(other in stuck for other in others) else others
            return awaited, holding
        return awaited, []

    def _circle(self, start: Named, stuck: set[Named]) -> list[Step]:
        """The shortest way from the execution back to itself; empty when there is none."""
        if start not in stuck:
            return []
        ways: list[tuple[Named, list[Step]]] = [(start, [])]
        visited: set[Named] = set()
        for execution, way in ways:  # grows while it is walked
            for awaited in self._waits[execution].message.awaited:
                last, holding = self._blockers(awaited, stuck)
                for other in holding:
                    step = Step(execution, last, other != last)
                    if other == start:
                        return [*way, step]
                    if other not in visited:
                        visited.add(other)
                        ways.append((other, [*way, step]))
        return []

    def _text(self, circle: list[Step]) -> str:
        following = [*circle[1:], circle[0]]
        parts = []
        for step, after in zip(circle, following, strict=True):
            part = f"{self._describe(step.execution)} waits for {self._describe(step.awaited)}"
            if step.is_queued:
                part += f", which begins only when {self._describe(after.execution)} has ended"
            parts.append(part)
        return (
            f"This wait can never end, because it waits for itself: {'; '.join(parts)}. Pass the reference on instead of "
            "waiting for it, or let the actor begin another call meanwhile: async methods, max_concurrency, concurrency_groups"
        )
