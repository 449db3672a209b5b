"""Results as they come: iterate over refs in the order in which they finish, with a bound on what is in flight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import shoal

DEFAULT_CHUNK_SIZE = 10
DEFAULT_BACKPRESSURE_SIZE = 100


def as_completed(
    refs: Sequence[Any], *, chunk_size: int = DEFAULT_CHUNK_SIZE, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Yields the values of ``refs`` as they become ready, ``chunk_size`` at a time (in the order of ``refs`` within a chunk).

    With ``yield_obj_refs`` the refs themselves. Other keywords go to ``shoal.wait`` (``timeout``, ``fetch_local``);
    with a timeout,
    fewer than a chunk may come at once. Raises ValueError for chunk_size < 1 or ``num_returns``; the error of a failed ref.
    """
    _check_chunk_size(chunk_size, kwargs)
    return _completed(list(refs), chunk_size, yield_obj_refs, kwargs)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = DEFAULT_BACKPRESSURE_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Runs the remote function ``fn`` on every item and yields the results as they finish.

    At most ``backpressure_size`` tasks are in flight (None: no bound). ``items`` is read as results are taken. The
    other arguments,
    and the errors, are those of ``as_completed``.
    """
    _check_chunk_size(chunk_size, kwargs)
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError(f"backpressure_size must be > 0 or None, but got backpressure_size={backpressure_size}")
    return _mapped(fn, items, backpressure_size, chunk_size, yield_obj_refs, kwargs)


def _mapped(
    fn: Any,
    items: Iterable[Any],
    backpressure_size: int | None,
    chunk_size: int,
    yield_obj_refs: bool,
    wait_options: dict[str, Any],
) -> Iterator[Any]:
    in_flight: list[Any] = []
    for item in items:
        in_flight.append(fn.remote(item))
        if backpressure_size is not None and len(in_flight) >= backpressure_size:
            ready, in_flight = _next_chunk(in_flight, chunk_size, yield_obj_refs, wait_options)
            yield from ready
    yield from _completed(in_flight, chunk_size, yield_obj_refs, wait_options)


def _completed(refs: list[Any], chunk_size: int, yield_obj_refs: bool, wait_options: dict[str, Any]) -> Iterator[Any]:
    while refs:
        ready, refs = _next_chunk(refs, chunk_size, yield_obj_refs, wait_options)
        yield from ready


def _next_chunk(
    refs: list[Any], chunk_size: int, yield_obj_refs: bool, wait_options: dict[str, Any]
) -> tuple[list[Any], list[Any]]:
    ready, rest = shoal.wait(refs, num_returns=min(chunk_size, len(refs)), **wait_options)
    return (ready if yield_obj_refs else shoal.get(ready)), rest


def _check_chunk_size(chunk_size: int, wait_options: dict[str, Any]) -> None:
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be >= 1, but got chunk_size={chunk_size}")
    if "num_returns" in wait_options:
        raise ValueError(f"use chunk_size instead of num_returns, but got num_returns={wait_options['num_returns']}")
