"""Where ``.bind()`` goes. The DAG library registers itself here, so that the API layer need not know it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Binder = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
"""``binder(what, args, kwargs)``: ``what`` is a RemoteFunction, ActorClass or ActorMethod, or one of them with options."""

_binder: Binder | None = None


def register_binder(binder: Binder) -> None:
    """Sends every ``.bind()`` to ``binder``."""
    global _binder
    _binder = binder


def bind(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A node of a graph that calls ``what``. Raises NotImplementedError while no graph library is loaded."""
    if _binder is None:
        raise NotImplementedError(f"{what!r}.bind() builds a graph node, and no graph library is loaded: shoal.dag provides it")
    return _binder(what, args, kwargs)
