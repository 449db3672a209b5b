"""The daemon's loop: descriptors, timers, and nothing else. Named like asyncio's, which costs 45 ms and 6 MB to import."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

_MASK_READ = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


class Timer:
    """A call that is due at ``when_s``, unless it is cancelled."""

    def __init__(self, when_s: float, callback: Callable[[], None]) -> None:
        self.when_s = when_s
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class EventLoop:
    """One thread only. Without descriptors that are ready and timers that are due it sleeps, however long."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], object]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False

    def time(self) -> float:
        return time.monotonic()

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """``callback`` when the descriptor has something to read, or its other end is gone."""
        known = fd in self._readers or fd in self._writers
        self._readers[fd] = callback
        self._register(fd, known)

    def remove_reader(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._register(fd, True)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        known = fd in self._readers or fd in self._writers
        self._writers[fd] = callback
        self._register(fd, known)

    def remove_writer(self, fd: int) -> None:
        if self._writers.pop(fd, None) is not None:
            self._register(fd, True)

    def call_at(self, when_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when_s, callback)
        heapq.heappush(self._timers, (when_s, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return self.call_at(self.time() + delay_s, callback)

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        """Until ``stop``."""
        while not self._stopped:
            self.run_once()

    def run_once(self, timeout_s: float | None = None) -> None:
        """Waits for the next descriptor or timer (at most ``timeout_s``) and serves what is due."""
        wait_s = self._until_next_timer()
        if timeout_s is not None:
            wait_s = timeout_s if wait_s is None else min(wait_s, timeout_s)
        for fd, mask in self._epoll.poll(wait_s):
            reader, writer = self._readers.get(fd), self._writers.get(fd)
            if mask & _MASK_READ and reader is not None:
                reader()
            if mask & ~select.EPOLLIN and writer is not None and self._writers.get(fd) is writer:
                writer()
        self._run_timers()

    def _until_next_timer(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - self.time()) if self._timers else None

    def _run_timers(self) -> None:
        now_s = self.time()
        while self._timers and self._timers[0][0] <= now_s:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()

    def _register(self, fd: int, known: bool) -> None:
        mask = (select.EPOLLIN | select.EPOLLRDHUP if fd in self._readers else 0) | (
            select.EPOLLOUT if fd in self._writers else 0
        )
        if not mask:
            self._epoll.unregister(fd)
        elif known:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
