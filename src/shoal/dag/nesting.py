"""Nodes inside arguments: finding them, and putting results in their place, at any depth of lists, tuples, sets and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def find(kind: type[T], value: Any) -> Iterator[T]:
    """Every ``kind`` in ``value``, in order, with repetitions."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from find(kind, item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from find(kind, key)
            yield from find(kind, item)


def replace(kind: type[Any], value: Any, replacement: Callable[[Any], Any]) -> Any:
    """``value`` with ``replacement(found)`` for every ``kind`` in it. Containers without one are returned as they are."""
    if isinstance(value, kind):
        return replacement(value)
    if not isinstance(value, (list, tuple, set, frozenset, dict)) or next(find(kind, value), None) is None:
        return value
    if isinstance(value, dict):
        pairs = [(replace(kind, key, replacement), replace(kind, item, replacement)) for key, item in value.items()]
        return type(value)(pairs)
    items = [replace(kind, item, replacement) for item in value]
    # A named tuple takes its items one by one.
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
