"""What a pool gives back: results that can be waited for, and iterators over results that are still being made."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import TimeoutError
from typing import Any, Protocol

from shoal.util.multiprocessing.chunks import CallFailed

ChunkDone = Callable[[list[Any] | BaseException], None]
"""Called with the outcomes of a chunk, or with the error that lost it (its actor died, ...)."""


class ChunkRunner(Protocol):
    """What an iterator needs of its pool."""

    def run_chunk(self, func: Callable[..., Any], chunk: list[Any], done: ChunkDone) -> None: ...
    def parallelism(self) -> int: ...


class AsyncResult:
    """The result of ``apply_async``, ``map_async`` or ``starmap_async``. Pools make it.

    ``callback`` gets the whole result when every call succeeded, else ``error_callback`` the first error; both run once, in
    the pool's result thread, so they must not wait for other results of the pool.
    """

    def __init__(
        self,
        number_of_chunks: int,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        single_result: bool = False,
    ) -> None:
        self._chunks: list[list[Any] | BaseException | None] = [None] * number_of_chunks
        self._open = number_of_chunks
        self._callback = callback
        self._error_callback = error_callback
        self._single_result = single_result
        self._error: BaseException | None = None
        self._finished = threading.Event()
        if number_of_chunks == 0:
            self._finish()

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the result is there, or after ``timeout`` seconds."""
        self._finished.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result. Raises the first error in the order of the calls, or multiprocessing.TimeoutError."""
        if not self._finished.wait(timeout):
            raise TimeoutError(f"no result within timeout={timeout} s")
        error = self._first_error()
        if error is not None:
            raise error
        return self._value()

    def ready(self) -> bool:
        return self._finished.is_set()

    def successful(self) -> bool:
        """Whether no call raised. Raises ValueError when the result is not ready."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None

    def chunk_done(self, index: int, outcome: list[Any] | BaseException) -> None:
        """For the pool: chunk ``index`` has ended."""
        self._chunks[index] = outcome
        if self._error is None:
            self._error = _error_in(outcome)
            if self._error is not None and self._error_callback is not None:
                self._error_callback(self._error)
        self._open -= 1
        if self._open == 0:
            self._finish()

    def _finish(self) -> None:
        try:
            if self._error is None and self._callback is not None:
                self._callback(self._value())
        finally:
            # Last, so that who waits for the result also finds what the callback did.
            self._finished.set()

    def _value(self) -> Any:
        values = list(itertools.chain.from_iterable(chunk for chunk in self._chunks if isinstance(chunk, list)))
        return values[0] if self._single_result else values

    def _first_error(self) -> BaseException | None:
        return next((error for error in map(_error_in, self._chunks) if error is not None), None)


class IMapIterator:
    """Iterates over results while at most one chunk per actor is in flight. Pools make it.

    A call that raised yields its exception as the value, so that one bad item does not end the iteration.
    """

    def __init__(
        self, runner: ChunkRunner, func: Callable[..., Any], iterable: Iterable[Any], chunksize: int, ordered: bool
    ) -> None:
        self._runner = runner
        self._func = func
        self._items = iter(iterable)
        self._chunksize = chunksize
        self._ordered = ordered
        self._submitted = 0
        self._taken = 0
        self._exhausted = False
        self._arrivals: queue.SimpleQueue[tuple[int, list[Any]]] = queue.SimpleQueue()
        self._early: dict[int, list[Any]] = {}
        self._values: deque[Any] = deque()
        for _ in range(runner.parallelism()):
            self._submit_next()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; raises StopIteration at the end, multiprocessing.TimeoutError after ``timeout`` seconds."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        while not self._values:
            if self._exhausted and self._taken == self._submitted:
                raise StopIteration
            self._receive(deadline_s, timeout)
        return self._values.popleft()

    def _receive(self, deadline_s: float | None, timeout: float | None) -> None:
        remaining_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            index, values = self._arrivals.get(timeout=remaining_s)
        except queue.Empty:
            raise TimeoutError(f"no result within timeout={timeout} s") from None
        self._submit_next()
        self._early[index if self._ordered else self._taken] = values
        while self._taken in self._early:
            self._values.extend(self._early.pop(self._taken))
            self._taken += 1

    def _submit_next(self) -> None:
        if self._exhausted:
            return
        chunk = list(itertools.islice(self._items, self._chunksize))
        self._exhausted = len(chunk) < self._chunksize
        if not chunk:
            return
        index = self._submitted
        self._submitted += 1
        self._runner.run_chunk(self._func, chunk, lambda outcome: self._arrivals.put((index, _as_values(outcome))))


def _error_in(outcome: list[Any] | BaseException | None) -> BaseException | None:
    if isinstance(outcome, BaseException):
        return outcome
    return next((value.with_cause() for value in outcome or () if isinstance(value, CallFailed)), None)


def _as_values(outcome: list[Any] | BaseException) -> list[Any]:
    if isinstance(outcome, BaseException):
        return [outcome]
    return [value.with_cause() if isinstance(value, CallFailed) else value for value in outcome]
