"""A first-in, first-out queue that every task and actor can use: one async actor holds the items."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Iterable, Sequence
from typing import Any

import shoal

__all__ = ["Empty", "Full", "Queue"]

_logger = logging.getLogger(__name__)


class Empty(queue.Empty):
    """Nothing to get, at once or within the timeout."""


class Full(queue.Full):
    """No room to put, at once or within the timeout."""


class Queue:
    """A queue of at most ``maxsize`` items (0: without limit), shared by whoever holds this object.

    It may be passed to tasks and actors; all copies are the same queue. ``actor_options`` are the options of the actor that
    holds the items, for instance ``{"num_cpus": 1}``; by default it takes no resources. The queue ends with its last copy.

    Errors that the actor raises arrive as RayTaskError that is also ``Empty`` or ``Full``, so ``except Full`` catches them.
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None) -> None:
        self.maxsize = maxsize
        options = {"num_cpus": 0, **(actor_options or {})}
        self.actor: Any = shoal.remote(_QueueActor).options(**options).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items are in the queue now."""
        return int(shoal.get(self.actor.qsize.remote()))

    def qsize(self) -> int:
        """The same as ``size``."""
        return self.size()

    def empty(self) -> bool:
        return bool(shoal.get(self.actor.empty.remote()))

    def full(self) -> bool:
        """Always False for a queue without limit."""
        return bool(shoal.get(self.actor.full.remote()))

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Adds an item; waits up to ``timeout`` seconds for room (None: for ever). ``timeout`` counts only with ``block``.

        Raises Full when there is no room, ValueError when timeout is negative.
        """
        if not block:
            self.put_nowait(item)
            return
        _check_timeout(timeout)
        shoal.get(self.actor.put.remote(item, timeout))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """``put`` for coroutines."""
        if block:
            _check_timeout(timeout)
            await self.actor.put.remote(item, timeout)
        else:
            await self.actor.put_nowait.remote(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the oldest item; waits up to ``timeout`` seconds for one (None: for ever). ``timeout`` counts only
        with ``block``.

        Raises Empty when there is none, ValueError when timeout is negative.
        """
        if not block:
            return self.get_nowait()
        _check_timeout(timeout)
        return shoal.get(self.actor.get.remote(timeout))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """``get`` for coroutines."""
        if not block:
            return await self.actor.get_nowait.remote()
        _check_timeout(timeout)
        return await self.actor.get.remote(timeout)

    def put_nowait(self, item: Any) -> None:
        """Adds an item or raises Full."""
        shoal.get(self.actor.put_nowait.remote(item))

    def get_nowait(self) -> Any:
        """Takes the oldest item or raises Empty."""
        return shoal.get(self.actor.get_nowait.remote())

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Adds all items with one call, or none: raises Full when they do not all fit. TypeError when items is no iterable."""
        if not isinstance(items, Iterable):
            raise TypeError(f"items must be an iterable, but got items={items!r}")
        shoal.get(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Takes ``num_items`` items with one call, or none: raises Empty when there are fewer. Raises TypeError and ValueError
        when num_items is no int, or negative."""
        if not isinstance(num_items, int):
            raise TypeError(f"num_items must be an int, but got num_items={num_items!r}")
        if num_items < 0:
            raise ValueError(f"num_items must be >= 0, but got num_items={num_items}")
        taken: list[Any] = shoal.get(self.actor.get_nowait_batch.remote(num_items))
        return taken

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """Ends the actor that holds the items, which are lost. No copy of the queue can be used afterwards.

        Calls that run get ``grace_period_s`` seconds to finish; with ``force`` none.
        """
        if self.actor is None:
            return
        if not force:
            self._end_gracefully(grace_period_s)
        shoal.kill(self.actor, no_restart=True)
        self.actor = None

    def _end_gracefully(self, grace_period_s: float) -> None:
        ended = self.actor.__ray_terminate__.remote()
        done, _ = shoal.wait([ended], timeout=grace_period_s)
        if not done:
            _logger.warning("the queue's actor did not end within grace_period_s=%s; killing it", grace_period_s)


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be >= 0, but got timeout={timeout}")


class _QueueActor:
    def __init__(self, maxsize: int) -> None:
        self._maxsize = maxsize
        self._items: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    # Methods that touch the queue are coroutines, so that all of them run on the loop that the queue belongs to.
    async def qsize(self) -> int:
        return self._items.qsize()

    async def empty(self) -> bool:
        return self._items.empty()

    async def full(self) -> bool:
        return self._items.full()

    async def put(self, item: Any, timeout: float | None) -> None:
        try:
            await asyncio.wait_for(self._items.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full(f"no room within timeout={timeout} s: the queue holds maxsize={self._maxsize} items") from None

    async def get(self, timeout: float | None) -> Any:
        try:
            return await asyncio.wait_for(self._items.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty(f"no item within timeout={timeout} s") from None

    async def put_nowait(self, item: Any) -> None:
        try:
            self._items.put_nowait(item)
        except asyncio.QueueFull:
            raise Full(f"no room: the queue holds maxsize={self._maxsize} items") from None

    async def get_nowait(self) -> Any:
        try:
            return self._items.get_nowait()
        except asyncio.QueueEmpty:
            raise Empty("no item: the queue is empty") from None

    async def put_nowait_batch(self, items: Sequence[Any]) -> None:
        size = self._items.qsize()
        if self._maxsize > 0 and size + len(items) > self._maxsize:
            raise Full(f"no room for {len(items)} items: the queue holds {size} of maxsize={self._maxsize}")
        for item in items:
            self._items.put_nowait(item)

    async def get_nowait_batch(self, num_items: int) -> list[Any]:
        size = self._items.qsize()
        if num_items > size:
            raise Empty(f"cannot get num_items={num_items}: the queue holds {size}")
        return [self._items.get_nowait() for _ in range(num_items)]
