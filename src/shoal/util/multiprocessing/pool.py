"""A pool of processes with the interface of ``multiprocessing.Pool``; each process is an actor."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterable, Sized
from multiprocessing import TimeoutError
from typing import Any

import shoal
from shoal.util.multiprocessing.chunks import Call, CallFailed, PoolActor, PoolError, RemoteTraceback
from shoal.util.multiprocessing.delivery import Delivery
from shoal.util.multiprocessing.results import AsyncResult, ChunkDone, IMapIterator

__all__ = ["AsyncResult", "CallFailed", "IMapIterator", "Pool", "PoolError", "RemoteTraceback", "TimeoutError"]

_CHUNKS_PER_PROCESS = 4


class Pool:
    """Processes that run functions, as ``multiprocessing.Pool`` does, on the cores of the whole cluster.

    - ``processes``: how many (None: all CPUs of the cluster). More than the cluster has raises ValueError.
    - ``initializer(*initargs)`` runs first in each process.
    - ``maxtasksperchild``: a process is replaced after so many tasks (None: never). A chunk of ``map`` is one task.
    - ``ray_address``: the cluster to join when shoal is not initialized. None: a running one, else a new local one that
      has ``processes`` CPUs.
    - ``ray_remote_args``: options of the actors, for instance ``{"num_gpus": 1}``; by default they take no resources.

    Errors are the exceptions that the function raised, with the remote traceback as their cause.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ) -> None:
        if context is not None:
            raise ValueError(f"context is not supported, actors are always forked by the node: got context={context!r}")
        if maxtasksperchild is not None and maxtasksperchild < 1:
            raise ValueError(f"maxtasksperchild must be >= 1 or None, but got maxtasksperchild={maxtasksperchild}")
        self._closed = False
        self._terminated = False
        count = _ensure_cluster(processes, ray_address)
        self._initializer = initializer
        self._initargs = tuple(initargs or ())
        self._max_tasks = maxtasksperchild
        self._actor_class = shoal.remote(num_cpus=0)(PoolActor).options(**(ray_remote_args or {}))
        self._ending: list[Any] = []
        self._members = [_Member(self._new_actor()) for _ in range(count)]
        self._next_member = 0
        self._delivery = Delivery()
        weakref.finalize(self, self._delivery.stop)
        shoal.get([member.actor.ready.remote() for member in self._members])

    # -- one call
    def apply(self, func: Callable[..., Any], args: Iterable[Any] | None = None, kwargs: dict[str, Any] | None = None) -> Any:
        """The result of ``func(*args, **kwargs)``, run in one of the processes."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """Like ``apply``, without waiting. The process with the least open work takes the call."""
        self._check_running()
        result = AsyncResult(1, callback, error_callback, single_result=True)
        self._run(
            self._least_loaded(), func, [(tuple(args or ()), kwargs or {})], lambda outcome: result.chunk_done(0, outcome)
        )
        return result

    # -- one call per item
    def map(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None) -> list[Any]:
        """``[func(item) for item in iterable]``, spread over the processes in chunks (default: four for each process)."""
        return self._map(func, iterable, chunksize, False, None, None).get()  # type: ignore[no-any-return]

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """Like ``map``, without waiting."""
        return self._map(func, iterable, chunksize, False, callback, error_callback)

    def starmap(self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None) -> list[Any]:
        """``[func(*item) for item in iterable]``; else like ``map``."""
        return self._map(func, iterable, chunksize, True, None, None).get()  # type: ignore[no-any-return]

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """Like ``starmap``, without waiting."""
        return self._map(func, iterable, chunksize, True, callback, error_callback)

    def imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """Like ``map``, but lazily: one chunk per process is in flight, and the next starts when a result is taken.

        Results come in order. A call that raised yields its exception as its result. ``chunksize=None`` chooses as ``map`` does
        (1 for an iterator). Raises TypeError when iterable is none.
        """
        return self._imap(func, iterable, chunksize, ordered=True)

    def imap_unordered(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1) -> IMapIterator:
        """Like ``imap``, but results come as soon as they are there."""
        return self._imap(func, iterable, chunksize, ordered=False)

    # -- ending
    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.terminate()

    def close(self) -> None:
        """No more work; what was submitted still runs. The processes end after it."""
        if self._closed:
            return
        self._closed = True
        for member in self._members:
            self._end(member.actor)
        self._delivery.stop()

    def terminate(self) -> None:
        """Ends the processes now; open results fail with a RayError."""
        self.close()
        if not self._terminated:
            self._terminated = True
            for member in self._members:
                shoal.kill(member.actor)

    def join(self) -> None:
        """Waits until the processes have ended. Raises ValueError unless ``close`` or ``terminate`` was called."""
        if not self._closed:
            raise ValueError("join() must follow close() or terminate(), but the pool is still running")
        if self._ending:
            shoal.wait(self._ending, num_returns=len(self._ending))
            self._ending = []
        self._delivery.join()

    # -- for the iterators
    def parallelism(self) -> int:
        return len(self._members)

    def run_chunk(self, func: Callable[..., Any], chunk: list[Any], done: ChunkDone) -> None:
        self._check_running()
        self._run(self._least_loaded(), func, [((item,), {}) for item in chunk], done)

    def _imap(self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None, ordered: bool) -> IMapIterator:
        self._check_running()
        if not isinstance(iterable, Iterable):
            raise TypeError(f"{type(iterable).__name__!r} object is not iterable")
        if chunksize is None:
            chunksize = self._default_chunksize(len(iterable)) if isinstance(iterable, Sized) else 1
        return IMapIterator(self, func, iterable, _checked_chunksize(chunksize), ordered)

    def _map(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int | None,
        unpack: bool,
        callback: Callable[[Any], Any] | None,
        error_callback: Callable[[BaseException], Any] | None,
    ) -> AsyncResult:
        self._check_running()
        calls: list[Call] = [(tuple(item) if unpack else (item,), {}) for item in iterable]
        size = self._default_chunksize(len(calls)) if chunksize is None else _checked_chunksize(chunksize)
        chunks = [calls[start : start + size] for start in range(0, len(calls), size)]
        result = AsyncResult(len(chunks), callback, error_callback)
        # Many chunks: the function, which may have a big closure, is stored once.
        shared = shoal.put(func) if len(chunks) > 1 else func
        for index, chunk in enumerate(chunks):
            self._run(self._members[self._next_index()], shared, chunk, _chunk_done(result, index))
        return result

    def _default_chunksize(self, number_of_items: int) -> int:
        return max(1, math.ceil(number_of_items / (len(self._members) * _CHUNKS_PER_PROCESS)))

    def _run(self, member: _Member, func: Any, calls: list[Call], done: ChunkDone) -> None:
        ref = member.actor.run.remote(func, calls)
        member.open_chunks += 1
        member.started_tasks += 1
        self._delivery.expect(ref, _closing(member, done))
        if member.started_tasks == self._max_tasks:
            self._end(member.actor)
            member.replace(self._new_actor())

    def _new_actor(self) -> Any:
        return self._actor_class.remote(self._initializer, self._initargs)

    def _end(self, actor: Any) -> None:
        # Queued behind the actor's open calls, so it does not cut them short.
        self._ending.append(actor.__ray_terminate__.remote())
        if len(self._ending) > len(self._members):
            _, self._ending = shoal.wait(self._ending, num_returns=len(self._ending), timeout=0)

    def _next_index(self) -> int:
        index = self._next_member
        self._next_member = (index + 1) % len(self._members)
        return index

    def _least_loaded(self) -> _Member:
        # Starts at the next in turn, so that equal loads are served round robin.
        start = self._next_index()
        return min(self._members[start:] + self._members[:start], key=lambda member: member.open_chunks)

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running: it was closed")


class _Member:
    """A process of the pool and what it was given."""

    def __init__(self, actor: Any) -> None:
        self.open_chunks = 0
        self.replace(actor)

    def replace(self, actor: Any) -> None:
        self.actor = actor
        self.started_tasks = 0


def _closing(member: _Member, done: ChunkDone) -> ChunkDone:
    def close(outcome: list[Any] | BaseException) -> None:
        member.open_chunks -= 1
        done(outcome)

    return close


def _chunk_done(result: AsyncResult, index: int) -> ChunkDone:
    return lambda outcome: result.chunk_done(index, outcome)


def _checked_chunksize(chunksize: int) -> int:
    if chunksize < 1:
        raise ValueError(f"chunksize must be >= 1, but got chunksize={chunksize}")
    return chunksize


def _ensure_cluster(processes: int | None, address: str | None) -> int:
    """Initializes shoal if need be; returns the number of processes of the pool."""
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be >= 1, but got processes={processes}")
    if not shoal.is_initialized():
        _initialize(processes, address or os.environ.get("RAY_ADDRESS"))
    cpus = int(shoal.cluster_resources().get("CPU", 0))
    count = cpus if processes is None else processes
    if count > cpus or count < 1:
        raise ValueError(f"processes must be between 1 and the {cpus} CPUs of the cluster, but got processes={processes}")
    return count


def _initialize(processes: int | None, address: str | None) -> None:
    if address == "local":
        shoal.init(address="local", num_cpus=processes)
    elif address:
        shoal.init(address=address)
    else:
        try:
            shoal.init(address="auto")
        except ConnectionError:
            shoal.init(num_cpus=processes)
