"""Finds waits that wait for themselves, and says what a wait lacks.

Whatever waits for longer than half a second without a time limit says so, again and again: an execution's thread, an event loop
of an async actor, a driver. What it waits for is followed: an unsealed record runs (and perhaps waits itself), waits for an
argument or for its turn, is queued behind what its actor runs, or needs resources that others hold. ``Standstill`` is the set
of waits of which none can end unless another one of them does. An error needs a circle in it, and one of two proofs:

- the circle is closed by what the waiting process itself holds or keeps from beginning: whatever others do, short of ending
  what takes part in the circle, it stays closed;
- it is closed by what other waiting tasks and actors hold, and nobody is left who could end one of those: every driver and
  every execution of the node waits in the set, and no thread but theirs is about.

Everything that is not known to stand still counts as going on: waits with a time limit, event loops with timers, sockets or
threads, threads of the user. What looks like a circle and can't be proven to be one gets a warning instead of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from shoal.core.native.messages import StillWaiting
from shoal.node.shortages import Lack, Need, amounts_text
from shoal.node.standstill import Agent, Hold, Key, Named, Node, Standstill, TaskGraph, Wait

FORGOTTEN_AFTER_S = 10.0
"""A wait that is not told of for so long has ended: it is told of at least every two seconds."""
WARNED_AFTER_S = 5.0
"""A circle that can't be proven is warned of when it has been seen for so long."""
JUST_NOW_S = 0.1
NAMES_SHOWN = 3
PACE_S = 0.0005
"""All waits are looked at together at most once in so long for each of them: the work grows with their number only."""


class Arena(TaskGraph, Protocol):
    """What is asked of the arena (``shoal._kernel``)."""

    def running_slot(self, record: int, uid: int) -> int: ...
    def record_uid(self, record: int) -> int: ...
    def slot_state(self, slot: int) -> SlotState: ...


class SlotState(Protocol):
    @property
    def blocked(self) -> bool: ...
    @property
    def running(self) -> int: ...


class Community(Node, Protocol):
    """What is asked of the node besides."""

    def agents(self) -> list[Agent] | None:
        """Everybody who may do something by himself; None: somebody is about whom nobody can know."""

    def open_needs(self) -> list[Need]:
        """Of all work that waits for resources."""


class Verdict(NamedTuple):
    """``error``: why the wait can never end, ``record``: which of the awaited ones never comes. ``warning``: why it may not."""

    error: str = ""
    record: int = 0
    warning: str = ""


class Step(NamedTuple):
    """On the way from one wait to the next: what the first one waits for, in the end, and how the next one holds that up."""

    waiter: Key
    awaited: Named
    hold: Hold
    next: Key
    lacking: dict[str, int]
    holders: list[Key]


class Deadlocks:
    """``describe(execution)``: its name, for texts."""

    def __init__(self, arena: Arena, node: Community, describe: Callable[[Named], str]) -> None:
        self._arena = arena
        self._node = node
        self._describe = describe
        self._waits: dict[Key, Wait] = {}
        self._suspected_s: dict[Key, float] = {}
        self._warned: set[Key] = set()
        self._now_s = 0.0
        self._hopeless: Standstill | None = None
        self._hopeless_until_s = 0.0

    def still_waiting(self, slot: int, message: StillWaiting, now_s: float) -> Verdict:
        """What is wrong with the wait. A circle is certain when all waits in it are told of again after it was first seen."""
        self._now_s = now_s
        told = Wait(slot, message, now_s)
        self._waits[told.key] = told
        key = told.key
        if key not in self._look(now_s) or not (circle := self._hopeless_circle(key)):
            self._suspected_s.pop(key, None)
            return Verdict()
        since_s = self._suspected_s.setdefault(key, now_s)
        self._forget(now_s)
        if since_s == now_s or not all(step.waiter in self._waits for step in circle):
            return Verdict()
        proven = self._proven_circle(key, since_s)
        if proven:
            text = f"This wait can never end, because it waits for itself: {self._text(proven)}"
            self._suspected_s.pop(key, None)
            del self._waits[key]  # it goes on, with an error
            self._hopeless_until_s = 0.0
            return Verdict(text, proven[0].awaited[0])
        is_told_of = key in self._warned or any(step.hold.need is not None for step in circle)  # see shortages
        if now_s - since_s < WARNED_AFTER_S or is_told_of:
            return Verdict()
        self._warned.add(key)
        return Verdict(
            warning=f"a wait seems to wait for itself, and will not end unless something else ends it: {self._text(circle)}"
        )

    def lack_of(self, need: Need, now_s: float) -> Lack | None:
        """What is lacking and who holds it, when it will not be free unless somebody ends an actor, removes a group or ends a
        task that waits."""
        standstill = self._look(now_s)
        if not standstill.is_hopeless(need):
            return None
        return Lack(standstill.lacking(need), standstill.holders_of(need))

    def _forget(self, now_s: float) -> None:
        self._waits = {key: wait for key, wait in self._waits.items() if self._lives(wait, now_s)}
        self._warned &= self._waits.keys()
        for key in self._suspected_s.keys() - self._waits.keys():
            del self._suspected_s[key]

    def _lives(self, wait: Wait, now_s: float) -> bool:
        told_lately = now_s - wait.told_s < FORGOTTEN_AFTER_S
        return told_lately and all(self._runs(wait.slot, each) for each in wait.executions)

    def _runs(self, slot: int, execution: Named) -> bool:
        if self._arena.slot_state(slot).running == execution[0]:
            return self._arena.record_uid(execution[0]) == execution[1]
        return self._arena.running_slot(*execution) == slot  # one of several: all that the process counts are looked at

    def _look(self, now_s: float) -> Standstill:
        """Waits that end only if somebody acts, looked at a moment ago at the latest."""
        if self._hopeless is None or now_s >= self._hopeless_until_s:
            self._forget(now_s)
            self._hopeless = Standstill(self._waits, self._arena, self._node, until_ended=True)
            self._hopeless_until_s = now_s + PACE_S * len(self._waits)
        return self._hopeless

    def _hopeless_circle(self, key: Key) -> list[Step]:
        assert self._hopeless is not None
        return self._circle(key, self._hopeless)

    def _proven_circle(self, key: Key, since_s: float) -> list[Step]:
        certain = {each: wait for each, wait in self._waits.items() if not wait.message.may_go_on}
        if key not in certain:
            return []
        own = Standstill(certain, self._arena, self._node, holding_slot=certain[key].slot)
        circle = self._circle(key, own)
        if circle and all(self._still_waits(certain[each], since_s) for each in own.reached_from(key)):
            return circle
        everybody = Standstill(certain, self._arena, self._node)
        circle = self._circle(key, everybody)
        return circle if circle and self._nobody_acts(everybody, since_s) else []

    def _nobody_acts(self, standstill: Standstill, since_s: float) -> bool:
        """Whether all that could change anything waits in the standstill, and has said so lately."""
        agents = self._node.agents()
        if agents is None or not all(standstill.is_hopeless(need) for need in self._node.open_needs()):
            return False
        for agent in agents:
            waits = standstill.waits_of(agent)
            if waits is None or not all(wait.message.is_alone and self._still_waits(wait, since_s) for wait in waits):
                return False
        return True

    def _still_waits(self, wait: Wait, since_s: float) -> bool:
        """Whether it was told of again since then, and was not interrupted after that."""
        if wait.told_s <= since_s:
            return False
        shows_it = bool(wait.executions) and not wait.message.loop
        told_just_now = self._now_s - wait.told_s < JUST_NOW_S  # while somebody tells, he is not seen to be blocked
        return not shows_it or told_just_now or self._arena.slot_state(wait.slot).blocked

    def _circle(self, start: Key, standstill: Standstill) -> list[Step]:
        """The shortest way from the wait back to itself; empty when there is none."""
        if start not in standstill:
            return []
        ways: list[tuple[Key, list[Step]]] = [(start, [])]
        visited: set[Key] = set()
        for key, way in ways:  # grows while it is walked
            for awaited, hold, others in standstill.ways_from(key):
                lacking = standstill.lacking(hold.need) if hold.need is not None else {}
                for other in others:
                    step = Step(key, awaited, hold, other, lacking, others)
                    if other == start:
                        return [*way, step]
                    if other not in visited:
                        visited.add(other)
                        ways.append((other, [*way, step]))
        return []

    # ------------------------------------------------------------ texts

    def _text(self, circle: list[Step]) -> str:
        parts = []
        for step in circle:
            waits = "waits" if len(self._waits[step.waiter].executions) == 1 else "wait"
            part = f"{self._waiter(step.waiter)} {waits} for {self._describe(step.hold.last)}"
            if step.lacking:
                part += f", which needs {amounts_text(step.lacking)}, held by {self._holders(step.holders)}"
            elif step.hold.is_queued:
                which = "" if len(self._waits[step.next].executions) == 1 else "one of "
                part += f", which begins only when {which}{self._waiter(step.next)} has ended"
            parts.append(part)
        advice = "Pass the reference on instead of waiting for it"
        if any(step.lacking for step in circle):
            advice += ", or let one of the two do without the resource"
        if any(step.hold.is_queued for step in circle):
            advice += ", or let the actor begin another call meanwhile: async methods, max_concurrency, concurrency_groups"
        return f"{'; '.join(parts)}. {advice}"

    def _waiter(self, key: Key) -> str:
        names = [self._describe(each) for each in self._waits[key].executions]
        if len(names) > NAMES_SHOWN:
            names[NAMES_SHOWN:] = [f"{len(names) - NAMES_SHOWN} more calls"]
        return " and ".join(names)

    def _holders(self, keys: list[Key]) -> str:
        names = [self._waiter(key) for key in keys[:NAMES_SHOWN]]
        if len(keys) > NAMES_SHOWN:
            names.append(f"{len(keys) - NAMES_SHOWN} more")
        return " and ".join(names)
