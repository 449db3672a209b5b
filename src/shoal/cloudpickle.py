"""The pickler for functions, classes and values: ``cloudpickle``, under the name programs import it by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudpickle import (
    CloudPickler,
    Pickler,
    dump,
    dumps,
    load,
    loads,
    register_pickle_by_value,
    unregister_pickle_by_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CloudPickler",
    "Pickler",
    "dump",
    "dumps",
    "dumps_debug",
    "load",
    "loads",
    "register_pickle_by_value",
    "unregister_pickle_by_value",
]


def dumps_debug(obj: Any, protocol: int | None = None, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """``dumps``; when that fails, the part that can't be pickled is printed before the error is raised."""
    try:
        return dumps(obj, protocol=protocol, buffer_callback=buffer_callback)  # type: ignore[no-any-return]
    except Exception:
        from shoal.core.serialization import unpicklable_part  # only when something is wrong

        print(f"This can't be pickled: {unpicklable_part(obj) or repr(obj)}")
        raise
