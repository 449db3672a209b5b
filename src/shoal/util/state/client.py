"""Reading the state of the cluster: filters, limits, details and summaries over what the node reports."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from shoal.util.state import _source
from shoal.util.state.exception import RayStateApiException
from shoal.util.state.filters import Filter, check_filters, passes
from shoal.util.state.rows import ROW_CLASSES, StateRow
from shoal.util.state.summaries import summary_of_actors, summary_of_objects, summary_of_tasks

# Named here, because a method named list hides the type inside of the class.
StateRows = list[Any]

DEFAULT_LIMIT = 100
DEFAULT_TIMEOUT_S = 30
LIMIT_MAX = 10_000

_SUMMARIES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "actors": summary_of_actors,
    "objects": summary_of_objects,
    "tasks": summary_of_tasks,
}


class StateApiClient:
    """Reads rows of the cluster that this process is connected to.

    ``address``: None, "auto" or the address of that cluster; another one raises ServerUnavailable, and so does every
    call while shoal is not initialized.
    """

    def __init__(self, address: str | None = None) -> None:
        _source.check_address(address)

    def list(
        self,
        resource: str,
        filters: Sequence[Filter] | None = None,
        limit: int = DEFAULT_LIMIT,
        timeout: float = DEFAULT_TIMEOUT_S,
        detail: bool = False,
        raise_on_missing_output: bool = True,
    ) -> StateRows:
        """Up to ``limit`` rows of ``resource`` ("actors", "tasks", ...) that pass all ``filters``.

        Raises ValueError for an unknown resource, predicate, or limit outside 1..10000; RayStateApiException for an unknown
        column, when ``timeout`` seconds are over, and, with ``raise_on_missing_output``, when there are more than 10,000 rows.
        """
        row_class = _row_class(resource)
        if not 1 <= limit <= LIMIT_MAX:
            raise ValueError(f"limit must be between 1 and {LIMIT_MAX}, but got limit={limit}")
        check_filters(filters or (), row_class)
        rows = self._rows(resource, timeout, raise_on_missing_output)
        matching = (values for values in rows if passes(values, filters or ()))
        return [row_class.from_source(values, detail) for values in itertools.islice(matching, limit)]

    def get(self, resource: str, id: str, timeout: float = DEFAULT_TIMEOUT_S) -> StateRows:
        """All rows with this id, with their details; none when there is no such thing."""
        row_class = _row_class(resource)
        rows = self._rows(resource, timeout, raise_on_missing_output=False)
        return [row_class.from_source(values, detail=True) for values in rows if values.get(row_class.ID_COLUMN) == id]

    def summary(
        self, resource: str, timeout: float = DEFAULT_TIMEOUT_S, raise_on_missing_output: bool = True
    ) -> dict[str, dict[str, Any]]:
        """``{"cluster": counts}`` of "tasks", "actors" or "objects"."""
        if resource not in _SUMMARIES:
            raise ValueError(f"resource must be one of {sorted(_SUMMARIES)}, but got resource={resource!r}")
        row_class = _row_class(resource)
        rows = self._rows(resource, timeout, raise_on_missing_output)
        return {"cluster": _SUMMARIES[resource](row_class.from_source(values, detail=True).asdict() for values in rows)}

    def _rows(self, resource: str, timeout: float, raise_on_missing_output: bool) -> StateRows:
        rows, more = _source.rows(resource, timeout)
        if more and raise_on_missing_output:
            raise RayStateApiException(
                f"there are more than {len(rows)} {resource}, and only as many can be listed; "
                "raise_on_missing_output=False lists those"
            )
        return rows


def _row_class(resource: str) -> type[StateRow]:
    if resource not in ROW_CLASSES:
        raise ValueError(f"resource must be one of {sorted(ROW_CLASSES)}, but got resource={resource!r}")
    return ROW_CLASSES[resource]
