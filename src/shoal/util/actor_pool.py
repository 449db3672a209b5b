"""A fixed set of actors that share a stream of work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import shoal

ActorCall = Callable[[Any, Any], Any]
"""``call(actor, value)`` starts one method of the actor and returns its ObjectRef (or a list of them)."""


class ActorPool:
    """Hands values to whichever of its actors is free, and results back in order or as they come.

    >>> pool = ActorPool([Worker.remote(), Worker.remote()])
    >>> list(pool.map(lambda worker, value: worker.double.remote(value), [1, 2, 3]))
    [2, 4, 6]

    A call that fails gives its actor back to the pool before its error is raised. Not thread-safe.
    """

    def __init__(self, actors: Iterable[Any]) -> None:
        self._idle: list[Any] = list(actors)
        self._pending_submits: deque[tuple[ActorCall, Any]] = deque()
        self._running: dict[int, tuple[Any, Any]] = {}  # index of the call -> (refs, actor)
        self._next_submitted = 0
        self._next_returned = 0

    def map(self, fn: ActorCall, values: Iterable[Any]) -> Iterator[Any]:
        """Results of ``fn(actor, value)`` for every value, in the order of the values.

        Work starts now, not with the first iteration. Calls submitted earlier and not read yet are dropped.
        """
        self._drop_unread()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next)

    def map_unordered(self, fn: ActorCall, values: Iterable[Any]) -> Iterator[Any]:
        """Like ``map``, but each result comes as soon as it is there."""
        self._drop_unread()
        for value in values:
            self.submit(fn, value)
        return self._results(self.get_next_unordered)

    def submit(self, fn: ActorCall, value: Any) -> None:
        """Starts ``fn(actor, value)`` on a free actor, or keeps it until one is free."""
        if not self._idle:
            self._pending_submits.append((fn, value))
            return
        actor = self._idle.pop()
        try:
            refs = fn(actor, value)
        except BaseException:
            self._idle.append(actor)
            raise
        index = self._next_submitted
        self._next_submitted += 1
        self._running[index] = (refs, actor)

    def has_next(self) -> bool:
        """Whether a result is still to come."""
        return bool(self._running)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of submission; waits up to ``timeout`` seconds (None: for ever).

        Raises StopIteration when nothing was submitted, ValueError after ``get_next_unordered`` took that result, TimeoutError
        when time is up; with ``ignore_if_timedout`` the call is dropped then. Raises the call's own error when it failed.
        """
        if not self.has_next():
            raise StopIteration("nothing to get: every submitted call was returned")
        index = self._next_returned
        if index not in self._running:
            raise ValueError("get_next() must not follow get_next_unordered() while calls are open: their order is lost")
        refs, _ = self._running[index]
        done = timeout is None or bool(shoal.wait(_first(refs), timeout=timeout)[0])
        return self._finish(index, done, timeout, ignore_if_timedout)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """Any finished result; waits up to ``timeout`` seconds (None: for ever). Errors as for ``get_next``.

        With ``ignore_if_timedout`` the oldest open call is dropped when time is up.
        """
        if not self.has_next():
            raise StopIteration("nothing to get: every submitted call was returned")
        waiting = {_first(refs)[0]: index for index, (refs, _) in self._running.items()}
        ready, _ = shoal.wait(list(waiting), num_returns=1, timeout=timeout)
        index = waiting[ready[0]] if ready else next(iter(self._running))
        return self._finish(index, bool(ready), timeout, ignore_if_timedout)

    def has_free(self) -> bool:
        """Whether an actor is idle and no submitted call waits for one."""
        return bool(self._idle) and not self._pending_submits

    def pop_idle(self) -> Any | None:
        """Takes an idle actor out of the pool; None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Adds an actor. Raises ValueError when it is in the pool already."""
        if actor in self._idle or any(actor == busy for _, busy in self._running.values()):
            raise ValueError(f"an actor must be in the pool once, but it already has {actor!r}")
        self._release(actor)

    def _finish(self, index: int, done: bool, timeout: float | None, ignore_if_timedout: bool) -> Any:
        message = f"no result within timeout={timeout} s"
        if not done and not ignore_if_timedout:
            raise TimeoutError(message)
        refs, actor = self._running.pop(index)
        self._next_returned = max(self._next_returned, index + 1)
        self._release(actor)
        if not done:
            raise TimeoutError(f"{message}; the call {refs} is dropped")
        return shoal.get(refs)

    def _release(self, actor: Any) -> None:
        self._idle.append(actor)
        if self._pending_submits:
            self.submit(*self._pending_submits.popleft())

    def _results(self, get_next: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield get_next()

    def _drop_unread(self) -> None:
        self._pending_submits.clear()
        while self._running:
            _, (_, actor) = self._running.popitem()
            self._idle.append(actor)
        self._next_returned = self._next_submitted


def _first(refs: Any) -> list[Any]:
    # One ready return value means that the call has ended, and with it all of them.
    return [refs[0]] if isinstance(refs, list) else [refs]
