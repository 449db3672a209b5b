"""When tasks that the memory guard ended run again.

They have a counter of their own: being ended for the good of others is no fault of theirs, so it uses up no ``max_retries``. A
task pauses before it runs again, longer each time. One that is ended although nothing else runs is tried a few times, since
other programs use the machine's memory too, and then fails. A task without any retry left (``max_retries=0``) is not tried."""

from __future__ import annotations

import msgspec

from shoal.node.events import DeadTaskSeen

PAUSE_MIN_S, PAUSE_MAX_S = 0.2, 10.0
ALONE_MAX = 3
"""So many times in a row a task may be ended while nothing else runs."""
REMEMBERED_MAX = 4096
"""Tasks whose history is kept. The brain is not told when a task finishes, so the oldest histories go."""


class _History(msgspec.Struct):
    kills: int = 0
    alone: int = 0  # the last ones, with nothing else running


class Pause(msgspec.Struct, frozen=True):
    """The task waits, to be taken by ``MemoryRetries.due``. ``kills``: how often it was ended so far."""

    kills: int
    length_s: float


class MemoryRetries:
    """``limit``: how often a task is tried again, -1: as often as it takes."""

    def __init__(self, limit: int = -1) -> None:
        self.limit = limit
        self._histories: dict[int, _History] = {}  # by uid, the latest last
        self._waiting: dict[int, tuple[float, int]] = {}  # by uid: when it is due, its record

    def ended(self, task: DeadTaskSeen, alone: bool, now_s: float) -> Pause | str:
        """What becomes of a task that was ended; a text: it fails, and why it is not tried again."""
        history = self._histories.pop(task.uid, None) or _History()
        history.kills += 1
        history.alone = history.alone + 1 if alone else 0
        if not task.retries_left:
            return "it has no retry left"
        if 0 <= self.limit < history.kills:
            return f"it was ended {history.kills} times, and task_oom_retries is {self.limit}"
        if history.alone >= ALONE_MAX:
            return f"it was ended {history.alone} times in a row although nothing else ran"
        self._remember(task.uid, history)
        pause_s = min(PAUSE_MIN_S * 2.0 ** min(history.kills - 1, 30), PAUSE_MAX_S)
        self._waiting[task.uid] = (now_s + pause_s, task.record)
        return Pause(history.kills, pause_s)

    def due(self, now_s: float) -> list[tuple[int, int]]:
        """(record, uid) of the tasks whose pause is over."""
        due = [(record, uid) for uid, (due_s, record) in self._waiting.items() if due_s <= now_s]
        for _, uid in due:
            del self._waiting[uid]
        return due

    def drop(self, uid: int) -> bool:
        """The task will not run again. Whether it was waiting."""
        return self._waiting.pop(uid, None) is not None

    def next_s(self, now_s: float) -> float | None:
        """Seconds until the next pause is over; None: nobody waits."""
        return max(0.0, min(due_s for due_s, _ in self._waiting.values()) - now_s) if self._waiting else None

    def _remember(self, uid: int, history: _History) -> None:
        self._histories[uid] = history
        while len(self._histories) > REMEMBERED_MAX:
            del self._histories[next(iter(self._histories))]
