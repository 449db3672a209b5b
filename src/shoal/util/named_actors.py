"""Which actors have names."""

from __future__ import annotations

from typing import Any

from shoal.util._control_plane import current_engine


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """The names of the live actors of this namespace, detached or not; an actor that restarts is listed too.

    With ``all_namespaces`` those of all namespaces, as ``{"name": ..., "namespace": ...}``. Starts a session when
    there is none.
    """
    return current_engine().list_named_actors(all_namespaces)
