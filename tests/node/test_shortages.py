"""Work that waits for resources which nobody gives back: told once, with who holds them."""

from __future__ import annotations

from shoal.node.resources import UNITS, Allocation, ResourcePool
from shoal.node.shortages import LOOKS_EVERY_S, TOLD_AFTER_S, TOLD_AGAIN_AFTER_S, Holder, Lack, Need, Shortage, Shortages

POOL = ResourcePool({"CPU": 2 * UNITS})
NEED = Need([{"CPU": UNITS}], [POOL])


def actor(name: str) -> Holder:
    return Holder(3, lambda: f"actor {name}", Allocation({"CPU": UNITS, "GPU": UNITS}))


class Desk:
    """``news(now_s)`` of one shortage that began at 0, while ``lack`` is missing."""

    def __init__(self, lack: Lack | None) -> None:
        self.lack = lack
        self.present = True
        self.shortages = Shortages(lambda need, now_s: self.lack)

    def news(self, now_s: float) -> list[tuple[int, str]]:
        return self.shortages.news(lambda: [Shortage("key", lambda: "actor A", NEED, 0.0, 7)] if self.present else [], now_s)


def test_it_is_told_once_after_some_seconds_with_who_holds_what() -> None:
    desk = Desk(Lack({"CPU": UNITS}, [actor(name) for name in "BCDEFGH"]))
    assert desk.news(TOLD_AFTER_S - 0.1) == []
    [(root, text)] = desk.news(TOLD_AFTER_S + LOOKS_EVERY_S)
    assert root == 7
    assert text.startswith("actor A has been waiting for resources for 6 s. It needs CPU: 1; CPU: 1 will not be free before")
    assert "actor B (CPU: 1), actor C (CPU: 1)" in text and text.endswith("actor F (CPU: 1), 2 more")
    assert desk.news(100.0) == []


def test_waiting_behind_work_that_ends_is_nothing_to_tell_of() -> None:
    desk = Desk(None)
    assert desk.news(100.0) == []
    desk.lack = Lack({"CPU": UNITS}, [actor("B")])
    assert len(desk.news(102.0)) == 1


def test_what_is_short_again_is_told_again_but_not_soon() -> None:
    desk = Desk(Lack({"CPU": UNITS}, [actor("B")]))
    assert len(desk.news(10.0)) == 1
    desk.present = False
    assert desk.news(12.0) == []
    desk.present = True
    assert desk.news(14.0) == []
    desk.present = False
    assert desk.news(16.0 + TOLD_AGAIN_AFTER_S) == []
    desk.present = True
    assert len(desk.news(20.0 + TOLD_AGAIN_AFTER_S)) == 1


def test_it_does_not_look_all_the_time() -> None:
    desk = Desk(None)
    desk.news(10.0)
    desk.lack = Lack({"CPU": UNITS}, [actor("B")])
    assert desk.news(10.0 + LOOKS_EVERY_S / 2) == []
    assert desk.news(10.0 + LOOKS_EVERY_S) != []
