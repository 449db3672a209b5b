"""Filters of the state API: ``(column, "=" or "!=", value)``, all of which a row must pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.util.state.exception import RayStateApiException
from shoal.util.state.rows import StateRow

Filter = tuple[str, str, Any]

_PREDICATES = ("=", "!=")


def check_filters(filters: Sequence[Filter], row_class: type[StateRow]) -> None:
    """Raises ValueError for a bad shape or predicate, RayStateApiException for a column that cannot be filtered by."""
    allowed = row_class.filterable_columns()
    for item in filters:
        if len(item) != 3:
            raise ValueError(f"a filter must be (column, predicate, value), but got {item!r}")
        name, predicate, _ = item
        if predicate not in _PREDICATES:
            raise ValueError(f"the predicate of a filter must be one of {_PREDICATES}, but got {predicate!r} in {item!r}")
        if name.lower() not in allowed:
            raise RayStateApiException(
                f"{row_class.__name__} can be filtered by {sorted(allowed)}, but got {name!r} in {item!r}"
            )


def passes(values: dict[str, Any], filters: Sequence[Filter]) -> bool:
    """Whether a row passes all filters. Values are compared as text, regardless of case; so are the names of columns."""
    return all((_text(values.get(name.lower())) == _text(wanted)) == (predicate == "=") for name, predicate, wanted in filters)


def _text(value: Any) -> str:
    return str(value).lower()
