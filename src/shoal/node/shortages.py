"""Work that waits for resources which nobody gives back by himself: what it needs, who holds that, and saying so once.

Waiting behind tasks that run is nothing to tell of: they end. Actors and placement groups hold what they have until somebody
ends them, and tasks that wait for what they keep from beginning never give it back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from shoal.node.resources import UNITS, Allocation, ResourcePool

TOLD_AFTER_S = 5.0
TOLD_AGAIN_AFTER_S = 60.0
"""What was short, then was not, and is short once more is told of again if that is so long ago."""
LOOKS_EVERY_S = 1.0
HOLDERS_SHOWN = 5


class Need(NamedTuple):
    """Amounts that are wanted together, from one of the pools."""

    parts: list[dict[str, int]]
    pools: list[ResourcePool]

    def of(self, resource: str) -> Need:
        """What of it is of this resource."""
        return Need([{resource: part[resource]} for part in self.parts if resource in part], self.pools)

    def total(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in self.parts:
            for name, units in part.items():
                total[name] = total.get(name, 0) + units
        return total


class Holder(NamedTuple):
    """Who holds an allocation: the process in ``slot``, or (0) a placement group. ``name`` is for people, and costs something.
    ``ends_by_itself``: what it holds is given back when its task has ended."""

    slot: int
    name: Callable[[], str]
    allocation: Allocation
    ends_by_itself: bool = False


class Lack(NamedTuple):
    """What is not there, and who holds it."""

    amounts: dict[str, int]
    holders: list[Holder]


class Shortage(NamedTuple):
    """Work that waits since ``since_s``. ``key``: what is told of once. ``root``: the driver who is told."""

    key: object
    what: Callable[[], str]
    need: Need
    since_s: float
    root: int


class Shortages:
    """``lack_of(need, now_s)``: what is missing, when nobody who holds it will give it back by himself."""

    def __init__(self, lack_of: Callable[[Need, float], Lack | None]) -> None:
        self._lack_of = lack_of
        self._told: dict[object, float] = {}
        self._next_s = 0.0

    def news(self, shortages: Callable[[], list[Shortage]], now_s: float) -> list[tuple[int, str]]:
        """(driver, text) of what has waited for long and was not told of yet."""
        if now_s < self._next_s:
            return []
        self._next_s = now_s + LOOKS_EVERY_S
        present = shortages()
        keys = {each.key for each in present}
        self._told = {key: at_s for key, at_s in self._told.items() if key in keys or now_s - at_s < TOLD_AGAIN_AFTER_S}
        found = []
        for each in present:
            if each.key in self._told or now_s - each.since_s < TOLD_AFTER_S:
                continue
            lack = self._lack_of(each.need, now_s)
            if lack is not None and lack.holders:
                self._told[each.key] = now_s
                found.append((each.root, _text(each, lack, now_s)))
        return found


def amounts_text(amounts: dict[str, int]) -> str:
    """For people: "CPU: 1, GPU: 0.5"."""
    return ", ".join(f"{name}: {units / UNITS:g}" for name, units in sorted(amounts.items())) or "nothing"


def _text(shortage: Shortage, lack: Lack, now_s: float) -> str:
    names = []
    for holder in lack.holders[:HOLDERS_SHOWN]:
        held = {name: units for name, units in holder.allocation.amounts.items() if name in lack.amounts}
        names.append(f"{holder.name()} ({amounts_text(held)})")
    if len(lack.holders) > HOLDERS_SHOWN:
        names.append(f"{len(lack.holders) - HOLDERS_SHOWN} more")
    wanted, missing = amounts_text(shortage.need.total()), amounts_text(lack.amounts)
    return (
        f"{shortage.what()} has been waiting for resources for {now_s - shortage.since_s:.0f} s. It needs {wanted}; {missing} "
        f"will not be free before one of these ends: {', '.join(names)}"
    )
